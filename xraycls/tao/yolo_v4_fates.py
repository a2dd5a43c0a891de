"""What becomes of every field of a spec of YOLOv4."""

from __future__ import annotations

from xraycls.tao.fates import (
    HONOURED,
    NMS,
    TRAINING,
    VISUALIZER,
    Fates,
    approximated,
    honoured,
    ignored,
    table,
)

YOLO_V4_FATES: Fates = {
    **TRAINING,
    **VISUALIZER,
    **NMS,
    **table(
        ("", "random_seed class_weighting_config", HONOURED),
        ("dataset_config", "target_class_mapping", honoured("labels and classes are compared in small letters")),
        ("dataset_config", "image_extension validation_fold include_difficult_in_training", HONOURED),
        ("dataset_config", "type", ignored("the form of the labels is told by the files")),
        ("dataset_config", "is_monochrome", ignored("TAO doesn't read it")),
        (
            "dataset_config.data_sources",
            "label_directory_path tfrecords_path image_directory_path source_weight",
            HONOURED,
        ),
        (
            "dataset_config.validation_data_sources",
            "label_directory_path tfrecords_path image_directory_path",
            HONOURED,
        ),
        ("dataset_config.validation_data_sources", "source_weight", ignored("every image is evaluated once")),
        ("dataset_config.data_sources", "root_path", ignored("TAO doesn't read it")),
        ("dataset_config.validation_data_sources", "root_path", ignored("TAO doesn't read it")),
        ("augmentation_config", "output_width output_height output_channel image_mean", HONOURED),
        ("augmentation_config", "exposure vertical_flip horizontal_flip jitter", HONOURED),
        ("augmentation_config", "randomize_input_shape_period mosaic_prob mosaic_min_ratio", HONOURED),
        ("augmentation_config", "output_depth", approximated("deep images are brought to 8 bits")),
        ("augmentation_config", "hue saturation", approximated("grey films have no colour: no effect")),
        ("training_config", "learning_rate optimizer checkpoint_interval model_ema", HONOURED),
        ("training_config", "resume_model_path pretrain_model_path pruned_model_path", HONOURED),
        ("eval_config", "average_precision_mode batch_size matching_iou_threshold visualize_pr_curve", HONOURED),
        ("yolov4_config", "big_anchor_shape mid_anchor_shape small_anchor_shape", HONOURED),
        ("yolov4_config", "matching_neutral_box_iou box_matching_iou", HONOURED),
        ("yolov4_config", "arch nlayers freeze_blocks freeze_bn force_relu activation", HONOURED),
        ("yolov4_config", "arch_conv_blocks", ignored("as in TAO's YOLOv4")),
        ("yolov4_config", "loss_loc_weight loss_neg_obj_weights loss_class_weights", HONOURED),
        ("yolov4_config", "focal_loss_alpha focal_loss_gamma label_smoothing", HONOURED),
        ("yolov4_config", "big_grid_xy_extend mid_grid_xy_extend small_grid_xy_extend", HONOURED),
    ),
}

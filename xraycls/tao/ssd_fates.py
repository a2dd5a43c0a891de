"""What becomes of every field of a spec of SSD."""

from __future__ import annotations

from xraycls.tao.fates import (
    DETECTNET_AUGMENTATION,
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

SSD_FATES: Fates = {
    **TRAINING,
    **VISUALIZER,
    **NMS,
    **DETECTNET_AUGMENTATION,
    **table(
        ("", "random_seed", HONOURED),
        ("dataset_config", "target_class_mapping", honoured("labels and classes are compared in small letters")),
        ("dataset_config", "image_extension validation_fold", HONOURED),
        (
            "dataset_config",
            "include_difficult_in_training",
            ignored("as in TAO's SSD: difficult objects are learnt, and left out of average precision"),
        ),
        ("dataset_config", "type", ignored("the form of the labels is told by the files")),
        (
            "dataset_config.data_sources",
            "label_directory_path image_directory_path tfrecords_path",
            HONOURED,
        ),
        (
            "dataset_config.validation_data_sources",
            "label_directory_path image_directory_path tfrecords_path",
            HONOURED,
        ),
        ("dataset_config.data_sources", "root_path", ignored("TAO doesn't read it")),
        ("dataset_config.validation_data_sources", "root_path", ignored("TAO doesn't read it")),
        ("augmentation_config", "output_width output_height output_channel image_mean", HONOURED),
        ("augmentation_config", "random_crop_min_scale random_crop_max_scale", HONOURED),
        ("augmentation_config", "random_crop_min_ar random_crop_max_ar", HONOURED),
        ("augmentation_config", "zoom_out_min_scale zoom_out_max_scale", HONOURED),
        ("augmentation_config", "brightness contrast random_flip", HONOURED),
        ("augmentation_config", "saturation hue", approximated("grey films have no colour: no effect")),
        ("augmentation_config.spatial_augmentation", "vflip_probability", HONOURED),
        (
            "augmentation_config.preprocessing",
            "output_image_min output_image_max",
            ignored("the input has a fixed size"),
        ),
        ("training_config.learning_rate", "soft_start_annealing_schedule", HONOURED),
        (
            "training_config.learning_rate",
            "soft_start_cosine_annealing_schedule",
            ignored("SSD learns by soft_start_annealing_schedule"),
        ),
        ("training_config", "optimizer", ignored("as in TAO's SSD: gradient descent with a momentum of 0.9")),
        ("training_config", "checkpoint_interval", HONOURED),
        (
            "training_config",
            "resume_model_path pretrain_model_path pruned_model_path",
            ignored("as in TAO's SSD: give the model with -m"),
        ),
        ("training_config", "model_ema", ignored("as in TAO's SSD")),
        ("eval_config", "validation_period_during_training average_precision_mode batch_size", HONOURED),
        ("eval_config", "matching_iou_threshold visualize_pr_curve", HONOURED),
        ("ssd_config", "aspect_ratios aspect_ratios_global scales min_scale max_scale", HONOURED),
        ("ssd_config", "two_boxes_for_ar1 steps offsets clip_boxes variances", HONOURED),
        ("ssd_config", "mean_color", ignored("TAO doesn't read it: see image_mean")),
        ("ssd_config", "arch nlayers freeze_blocks freeze_bn pred_num_channels", HONOURED),
        ("ssd_config", "alpha neg_pos_ratio pos_iou_thresh neg_iou_thresh", HONOURED),
        (
            "ssd_config",
            "loss_loc_weight focal_loss_alpha focal_loss_gamma",
            approximated("as RetinaNet's fields of these names; TLT 2's own SSD was never published"),
        ),
    ),
}

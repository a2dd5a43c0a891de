"""What becomes of every field of a spec of Faster R-CNN, by its name since TLT 3."""

from __future__ import annotations

from xraycls.tao.fates import (
    DETECTNET_AUGMENTATION,
    HONOURED,
    VISUALIZER,
    Fates,
    approximated,
    honoured,
    ignored,
    table,
)

_ENGINE = ignored("the model itself runs; TensorRT engines are made by export")
_PREDICTION = (
    "model rpn_pre_nms_top_N rpn_nms_max_boxes rpn_nms_overlap_threshold object_confidence_thres "
    "classifier_nms_max_boxes classifier_nms_overlap_threshold batch_size"
)

FASTER_RCNN_FATES: Fates = {
    **VISUALIZER,
    **DETECTNET_AUGMENTATION,
    **table(
        ("", "random_seed enc_key", HONOURED),
        ("", "verbose", ignored("choose with --quiet and --debug")),
        ("dataset_config", "target_class_mapping", honoured("labels and classes are compared in small letters")),
        ("dataset_config", "image_extension validation_fold validation_data_source data_sources", HONOURED),
        ("dataset_config", "dataloader_mode sampling_mode", ignored("every image is drawn once an epoch")),
        ("dataset_config.data_sources", "source_weight", ignored("every image is drawn once an epoch")),
        ("dataset_config.validation_data_source", "source_weight", ignored("every image is evaluated once")),
        ("augmentation_config.spatial_augmentation", "vflip_probability", ignored("as in TAO's Faster R-CNN")),
        ("augmentation_config.preprocessing", "output_image_min output_image_max", HONOURED),
        ("model_config.input_image_config", "image_type size_min size_height_width image_channel_mean", HONOURED),
        ("model_config.input_image_config", "image_scaling_factor", HONOURED),
        (
            "model_config.input_image_config",
            "image_channel_order",
            approximated("a grey film's channels are alike: it orders the means alone"),
        ),
        (
            "model_config.input_image_config",
            "max_objects_num_per_image",
            ignored("an image may have any number of objects"),
        ),
        ("model_config", "arch anchor_box_config roi_mini_batch rpn_stride freeze_bn dropout_rate", HONOURED),
        ("model_config", "drop_connect_rate freeze_blocks use_bias roi_pooling_config all_projections", HONOURED),
        ("model_config", "use_pooling activation", HONOURED),
        ("model_config", "rpn_cls_activation_type", ignored("it is a sigmoid, as TAO allows no other")),
        ("model_config", "rfcn_mode tf_proposal_layer", ignored("TAO doesn't read it")),
        ("training_config", "enable_augmentation retrain_pruned_model pretrained_weights", HONOURED),
        ("training_config", "resume_from_model output_model rpn_min_overlap rpn_max_overlap", HONOURED),
        ("training_config", "classifier_min_overlap classifier_max_overlap gt_as_roi std_scaling", HONOURED),
        ("training_config", "classifier_regr_std batch_size_per_gpu num_epochs checkpoint_interval", HONOURED),
        ("training_config", "rpn_pre_nms_top_N rpn_mini_batch rpn_nms_max_boxes", HONOURED),
        ("training_config", "rpn_nms_overlap_threshold regularizer optimizer learning_rate", HONOURED),
        ("training_config", "lambda_rpn_regr lambda_rpn_class lambda_cls_regr lambda_cls_class", HONOURED),
        ("training_config", "early_stopping", HONOURED),
        ("training_config", "enable_qat", ignored("models are quantised after training")),
        ("training_config", "model_parallelism", ignored("every GPU holds the whole network")),
        ("training_config.optimizer.adam", "lr", ignored("as in TAO: learning_rate sets it")),
        ("training_config.optimizer.sgd", "lr", ignored("as in TAO: learning_rate sets it")),
        ("training_config.optimizer.rmsprop", "lr", ignored("as in TAO: learning_rate sets it")),
        ("training_config.optimizer.adam", "epsilon", ignored("as in TAO")),
        ("inference_config", _PREDICTION, HONOURED),
        ("inference_config", "images_dir bbox_visualize_threshold detection_image_output_dir", HONOURED),
        ("inference_config", "bbox_caption_on labels_dump_dir", HONOURED),
        ("inference_config", "trt_inference", _ENGINE),
        ("inference_config", "nms_score_bits", ignored("is for a TensorRT plugin")),
        ("evaluation_config", _PREDICTION, HONOURED),
        ("evaluation_config", "use_voc07_11point_metric validation_period_during_training", HONOURED),
        ("evaluation_config", "gt_matching_iou_threshold_range gt_matching_iou_threshold", HONOURED),
        ("evaluation_config", "visualize_pr_curve", HONOURED),
        ("evaluation_config", "labels_dump_dir", ignored("as in TAO 5: inference writes labels")),
        ("evaluation_config", "trt_evaluation", _ENGINE),
    ),
}

"""The spec of ``dataset_convert`` (TAO's DatasetExportConfig) as configuration objects.

Fields have the names, types and zero values of the spec; what zero then means is said here and done by the converter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xraycls.tao.fields import define, message


@dataclass(frozen=True, slots=True)
class KittiConfig:
    """A folder of images and one of KITTI labels.

    Attributes:
        root_directory_path: the folder that the others are relative to.
        image_dir_name: the folder of the images.
        label_dir_name: the folder of the label files, a ``.txt`` an image.
        image_extension: with its dot; "" means ".png".
        partition_mode: "random" (by name, then shuffled) or "sequence".
        num_partitions: folds; "random" needs 2. 0 means one, without a number in the file names.
        num_shards: files a fold; 0 means one, without a number in the file names.
        val_split: percent of the images that go into fold 0, 0 up to but not including 100; "random" only.
        kitti_sequence_to_frames_file: JSON of {sequence: [image names without extension]}; "sequence" only.
        point_clouds_dir: not used.
        calibrations_dir: not used.
    """

    root_directory_path: str = ""
    image_dir_name: str = ""
    label_dir_name: str = ""
    image_extension: str = ""
    partition_mode: str = ""
    num_partitions: int = 0
    num_shards: int = 0
    val_split: float = 0.0
    kitti_sequence_to_frames_file: str = ""
    point_clouds_dir: str = ""
    calibrations_dir: str = ""


@dataclass(frozen=True, slots=True)
class CocoConfig:
    """Folders of images, each with a COCO annotation file; each becomes a fold.

    Attributes:
        root_directory_path: the folder that the others are relative to.
        img_dir_names: a folder a fold.
        annotation_files: a JSON file a fold.
        num_partitions: folds, as many as there are folders.
        num_shards: files a fold, one number for all or one each; 0 means one, without a number in the file names.
    """

    root_directory_path: str = ""
    img_dir_names: tuple[str, ...] = ()
    annotation_files: tuple[str, ...] = ()
    num_partitions: int = 0
    num_shards: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SampleModifier:
    """Which training samples to leave out and which to repeat.

    Attributes:
        filter_samples_containing_only: target classes; an image with objects of one of them alone is left out.
        dominant_target_classes: the frequent target classes that rare ones are compared with.
        minimum_target_class_imbalance: the ratio of rare to dominant objects above which an image is repeated, by
            rare target class; 1 where none is given.
        num_duplicates: how often such an image is repeated.
        max_training_samples: images in all training folds together; 0 means all.
        source_to_target_class_mapping: target classes by label, for these rules alone: records keep their labels.
    """

    filter_samples_containing_only: tuple[str, ...] = ()
    dominant_target_classes: tuple[str, ...] = ()
    minimum_target_class_imbalance: Mapping[str, float] = field(default_factory=dict)
    num_duplicates: int = 0
    max_training_samples: int = 0
    source_to_target_class_mapping: Mapping[str, str] = field(default_factory=dict)


@message
class DatasetExport:
    """A dataset_convert spec; of ``kitti_config`` and ``coco_config`` one at most is given.

    Attributes:
        sample_modifier_config: rules for training samples.
        image_directory_path: not used; image paths come from the source above.
        target_class_mapping: class names by label; such a spec makes records for SSD, see the converter.
    """

    kitti_config: KittiConfig | None = define("images with KITTI labels", oneof="source")
    coco_config: CocoConfig | None = define("images with COCO annotations", oneof="source")
    sample_modifier_config: SampleModifier = SampleModifier()
    image_directory_path: str = ""
    target_class_mapping: Mapping[str, str] = field(default_factory=dict)

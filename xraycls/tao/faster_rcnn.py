"""The spec of Faster R-CNN as a configuration object: the fields of all versions of TLT and TAO."""

from __future__ import annotations

from dataclasses import dataclass, field

from xraycls.tao.detectnet import AugmentationConfig, DatasetConfig
from xraycls.tao.faster_rcnn_inference import EvaluationConfig, InferenceConfig
from xraycls.tao.faster_rcnn_model import ModelConfig, NetworkConfig
from xraycls.tao.faster_rcnn_training import TrainingConfig


@dataclass(frozen=True, slots=True)
class FasterRCNNSpec:
    """A whole spec.

    Attributes:
        random_seed: of everything that is drawn.
        verbose: tell more.
        enc_key: of encrypted models.
        dataset_config: what to train on and what to validate with.
        augmentation_config: how images are changed.
        model_config: the network.
        network_config: TLT 2: the network.
        training_config: how it is trained; in TLT 2 it holds all that is missing here.
        inference_config: how predictions are made.
        evaluation_config: how it is evaluated.
    """

    random_seed: int = 0
    verbose: bool = False
    enc_key: str = ""
    dataset_config: DatasetConfig = field(default=DatasetConfig())
    augmentation_config: AugmentationConfig = field(default=AugmentationConfig())
    model_config: ModelConfig = field(default=ModelConfig())
    network_config: NetworkConfig | None = None
    training_config: TrainingConfig = field(default=TrainingConfig())
    inference_config: InferenceConfig = field(default=InferenceConfig())
    evaluation_config: EvaluationConfig = field(default=EvaluationConfig())

"""Messages that the specs of several networks share, as configuration objects.

Fields have the names, types and zero values of the spec; None is what isn't given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class SoftStartAnnealingScheduleConfig:
    """Geometrically up, along the highest rate, and down again.

    Attributes:
        min_learning_rate: at both ends.
        max_learning_rate: in the middle.
        soft_start: share of the training that the way up takes, 0–1.
        annealing: share after which the way down begins, 0–1.
    """

    min_learning_rate: float = 0.0
    max_learning_rate: float = 0.0
    soft_start: float = 0.0
    annealing: float = 0.0


@dataclass(frozen=True, slots=True)
class SoftStartCosineAnnealingScheduleConfig:
    """Linearly up, then down along a cosine.

    Attributes:
        max_learning_rate: after the way up.
        soft_start: share of the training that the way up takes, 0–1.
        min_learning_rate: at the start.
    """

    max_learning_rate: float = 0.0
    soft_start: float = 0.0
    min_learning_rate: float = 0.0


@dataclass(frozen=True, slots=True)
class LearningRateConfig:
    """The schedule; one of the two."""

    soft_start_annealing_schedule: SoftStartAnnealingScheduleConfig | None = None
    soft_start_cosine_annealing_schedule: SoftStartCosineAnnealingScheduleConfig | None = None


@dataclass(frozen=True, slots=True)
class RegularizerConfig:
    """Penalty on the kernels of convolutions.

    Attributes:
        type: the sum of their magnitudes (L1) or of their squares (L2).
        weight: of the sum in the loss, above 0 and below 1.
    """

    type: Literal["NO_REG", "L1", "L2"] = "NO_REG"
    weight: float = 0.0


@dataclass(frozen=True, slots=True)
class AdamOptimizerConfig:
    """Adam, as in Keras."""

    epsilon: float = 0.0
    beta1: float = 0.0
    beta2: float = 0.0
    amsgrad: bool = False


@dataclass(frozen=True, slots=True)
class SGDOptimizerConfig:
    """Stochastic gradient descent, as in Keras."""

    momentum: float = 0.0
    nesterov: bool = False


@dataclass(frozen=True, slots=True)
class RMSpropOptimizerConfig:
    """RMSprop, as in Keras."""

    rho: float = 0.0
    momentum: float = 0.0
    epsilon: float = 0.0
    centered: bool = False


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """One of the three."""

    adam: AdamOptimizerConfig | None = None
    sgd: SGDOptimizerConfig | None = None
    rmsprop: RMSpropOptimizerConfig | None = None


@dataclass(frozen=True, slots=True)
class CostScalingConfig:
    """Scaling of the loss against underflow at half precision."""

    enabled: bool = False
    initial_exponent: float = 0.0
    increment: float = 0.0
    decrement: float = 0.0


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """When to stop before the last epoch.

    Attributes:
        monitor: "loss" and, for SSD, "validation_loss" or "val_loss".
        min_delta: the least change that is a gain.
        patience: epochs without a gain.
    """

    monitor: str = ""
    min_delta: float = 0.0
    patience: int = 0


@dataclass(frozen=True, slots=True)
class WandBConfig:
    """An account at Weights & Biases to report to."""

    enabled: bool = False
    key: str = ""
    project: str = ""
    entity: str = ""
    reinit: bool = False
    name: str = ""
    tags: tuple[str, ...] = ()
    wandb_dir: str = ""
    notes: str = ""
    mode: Literal["ONLINE", "OFFLINE", "DISABLED"] = "ONLINE"


@dataclass(frozen=True, slots=True)
class ClearMLConfig:
    """A ClearML server to report to."""

    project: str = ""
    task: str = ""
    tags: tuple[str, ...] = ()
    reuse_last_task_id: bool = False
    continue_last_task: bool = False
    deferred_init: bool = False


@dataclass(frozen=True, slots=True)
class VisualizerConfig:
    """What training shows in TensorBoard.

    Attributes:
        enabled: whether it shows anything.
        num_images: augmented images of the first batches.
        weight_histograms: of all layers.
        wandb_config: another place to show it.
        clearml_config: another place to show it.
    """

    enabled: bool = False
    num_images: int = 0
    weight_histograms: bool = False
    wandb_config: WandBConfig | None = None
    clearml_config: ClearMLConfig | None = None


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How SSD and YOLOv4 are trained.

    Attributes:
        batch_size_per_gpu: 1 or more.
        num_epochs: 1 or more.
        learning_rate: the schedule.
        regularizer: of the kernels.
        optimizer: YOLOv4's; SSD has its own.
        cost_scaling: not used.
        checkpoint_interval: epochs between two saved models; 0 means 1 to SSD.
        enable_qat: train for 8-bit inference.
        resume_model_path: YOLOv4: a model to go on from; SSD has the flag ``-m``, for the other two as well.
        pretrain_model_path: a model to take weights from.
        pruned_model_path: a pruned model to retrain.
        max_queue_size: batches that wait; 0 means 20.
        n_workers: that read images; 0 means all processors but one.
        use_multiprocessing: read in processes, not in threads.
        early_stopping: None trains to the end.
        visualizer: None shows nothing.
        model_ema: YOLOv4: keep a running mean of the weights.
    """

    batch_size_per_gpu: int = 0
    num_epochs: int = 0
    learning_rate: LearningRateConfig = LearningRateConfig()
    regularizer: RegularizerConfig = RegularizerConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    cost_scaling: CostScalingConfig | None = None
    checkpoint_interval: int = 0
    enable_qat: bool = False
    resume_model_path: str | None = None
    pretrain_model_path: str | None = None
    pruned_model_path: str | None = None
    max_queue_size: int = 0
    n_workers: int = 0
    use_multiprocessing: bool = False
    early_stopping: EarlyStopping | None = None
    visualizer: VisualizerConfig | None = None
    model_ema: bool = False


@dataclass(frozen=True, slots=True)
class NMSConfig:
    """Which of overlapping predictions stay.

    Attributes:
        confidence_threshold: predictions must score more, 0–1.
        clustering_iou_threshold: IoU above which the weaker of two goes, 0–1.
        top_k: predictions an image at most.
        infer_nms_score_bits: of a TensorRT plugin.
        force_on_cpu: where TensorFlow does it.
    """

    confidence_threshold: float = 0.0
    clustering_iou_threshold: float = 0.0
    top_k: int = 0
    infer_nms_score_bits: int = 0
    force_on_cpu: bool = False

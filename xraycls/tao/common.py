"""Messages that the specs of several networks share; zero is what a field that isn't given has."""

from __future__ import annotations

from typing import Literal

from xraycls.tao.fields import LATER, approximated, define, honoured, ignored, message
from xraycls.tao.limits import above, at_least, between, one_of, within

QAT = approximated("each channel of weights has a range of its own, and activations aren't cut at 6")
NO_COLOUR = approximated("grey films have no colour: no effect")
SMALL_LETTERS = honoured("labels and classes are compared in small letters")
_THREADS = ignored("the loader chooses its threads")
_ELSEWHERE = ignored("figures stay in the results folder")
_CURVES = ignored("TensorBoard shows curves alone")


@message
class SoftStartAnnealingScheduleConfig:
    """Geometrically up, along the highest rate, and down again."""

    min_learning_rate: float = define("at both ends", above(0))
    max_learning_rate: float = define("in the middle")
    soft_start: float = define("share of the training that the way up takes", within(0, 1))
    annealing: float = define("share after which the way down begins", within(0, 1))


@message
class SoftStartCosineAnnealingScheduleConfig:
    """Linearly up, then down along a cosine."""

    max_learning_rate: float = define("after the way up")
    soft_start: float = define("share of the training that the way up takes", within(0, 1))
    min_learning_rate: float = define("at the start", above(0))


@message
class LearningRateConfig:
    """The schedule; one of the two."""

    soft_start_annealing_schedule: SoftStartAnnealingScheduleConfig | None = define(
        "up, along and down", oneof="learning_rate"
    )
    soft_start_cosine_annealing_schedule: SoftStartCosineAnnealingScheduleConfig | None = define(
        "up, and down along a cosine", oneof="learning_rate"
    )


@message
class RegularizerConfig:
    """Penalty on the kernels of convolutions."""

    type: Literal["NO_REG", "L1", "L2"] = define("the sum of their magnitudes (L1) or of their squares (L2)")
    weight: float = define("of the sum in the loss", between(0, 1), when=lambda penalty: penalty.type != "NO_REG")


@message
class AdamOptimizerConfig:
    """Adam, as in Keras."""

    epsilon: float = define("added to the root of the second moment", above(0))
    beta1: float = define("decay of the first moment", between(0, 1))
    beta2: float = define("decay of the second moment", between(0, 1))
    amsgrad: bool = define("the greatest second moment so far")


@message
class SGDOptimizerConfig:
    """Stochastic gradient descent, as in Keras."""

    momentum: float = define("of the steps", at_least(0))
    nesterov: bool = define("look ahead")


@message
class RMSpropOptimizerConfig:
    """RMSprop, as in Keras."""

    rho: float = define("decay of the mean square", between(0, 1))
    momentum: float = define("of the steps", at_least(0))
    epsilon: float = define("added to the mean square", above(0))
    centered: bool = define("subtract the squared mean")


@message
class OptimizerConfig:
    """One of the three."""

    adam: AdamOptimizerConfig | None = define("Adam", oneof="optimizer")
    sgd: SGDOptimizerConfig | None = define("gradient descent", oneof="optimizer")
    rmsprop: RMSpropOptimizerConfig | None = define("RMSprop", oneof="optimizer")


@message
class CostScalingConfig:
    """Scaling of the loss against underflow at half precision."""

    enabled: bool = define("do it")
    initial_exponent: float = define("of two, the first factor", scalar="double")
    increment: float = define("of the exponent after a step", scalar="double")
    decrement: float = define("of the exponent after an overflow", scalar="double")


@message
class EarlyStopping:
    """When to stop before the last epoch."""

    monitor: str = define("what must fall", one_of("loss"))
    min_delta: float = define("the least change that is a gain", at_least(0))
    patience: int = define("epochs without a gain", at_least(1))


@message
class WandBConfig:
    """An account at Weights & Biases to report to."""

    enabled: bool = define("report there")
    key: str = define("of the account")
    project: str = define("of the run")
    entity: str = define("that owns the project")
    reinit: bool = define("start anew in one process")
    name: str = define("of the run")
    tags: tuple[str, ...] = define("of the run")
    wandb_dir: str = define("for its files")
    notes: str = define("on the run")
    mode: Literal["ONLINE", "OFFLINE", "DISABLED"] = define("of the connection")


@message
class ClearMLConfig:
    """A ClearML server to report to."""

    project: str = define("of the task")
    task: str = define("its name")
    tags: tuple[str, ...] = define("of the task")
    reuse_last_task_id: bool = define("overwrite the last task")
    continue_last_task: bool = define("go on with the last task")
    deferred_init: bool = define("connect in the background")


@message
class VisualizerConfig:
    """What training shows in TensorBoard."""

    enabled: bool = define("whether it shows anything", honoured("TensorBoard files in the results folder"))
    num_images: int = define("augmented images of the first batches", _CURVES)
    weight_histograms: bool = define("of all layers", _CURVES)
    wandb_config: WandBConfig | None = define("another place to show it", _ELSEWHERE)
    clearml_config: ClearMLConfig | None = define("another place to show it", _ELSEWHERE)


@message
class TrainingConfig:
    """How SSD and YOLOv4 are trained."""

    batch_size_per_gpu: int = define("images at a time", at_least(1))
    num_epochs: int = define("passes over the data", at_least(1))
    learning_rate: LearningRateConfig = define("the schedule", required=True)
    regularizer: RegularizerConfig = define("of the kernels", required=True)
    optimizer: OptimizerConfig = define("how weights follow their gradients")
    cost_scaling: CostScalingConfig | None = define("not used", ignored("mixed precision scales by itself"))
    checkpoint_interval: int = define("epochs between two saved models")
    enable_qat: bool = define("train for 8-bit inference", QAT)
    resume_model_path: str | None = define("a model to go on from", oneof="load_model")
    pretrain_model_path: str | None = define("a model to take weights from", oneof="load_model")
    pruned_model_path: str | None = define("a pruned model to retrain", oneof="load_model")
    max_queue_size: int = define("batches that wait; 0 means 20", _THREADS)
    n_workers: int = define("threads that read images; 0 means as many as there are processors")
    use_multiprocessing: bool = define("read in processes, not in threads", _THREADS)
    early_stopping: EarlyStopping | None = define("when to end before the last epoch", dialects=LATER)
    visualizer: VisualizerConfig | None = define("what TensorBoard shows", dialects=LATER)
    model_ema: bool = define("keep a running mean of the weights", dialects=LATER)


@message
class NMSConfig:
    """Which of overlapping predictions stay."""

    confidence_threshold: float = define("predictions must score more, 0–1")
    clustering_iou_threshold: float = define("IoU above which the weaker of two goes, 0–1")
    top_k: int = define("predictions an image at most")
    infer_nms_score_bits: int = define("of a TensorRT plugin", ignored("is for a TensorRT plugin"))
    force_on_cpu: bool = define("where TensorFlow does it", ignored("suppression runs where the network runs"))

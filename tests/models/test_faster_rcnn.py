"""What a Faster R-CNN does as a detector, apart from the numbers of upstream."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from xraycls.errors import UsageError
from xraycls.models.detection.base import Suppression
from xraycls.models.detection.faster_rcnn import FasterRCNN, FasterRCNNConfig
from xraycls.models.detection.faster_rcnn_loss import FasterRCNNLoss
from xraycls.models.detection.proposals import ProposalSettings
from xraycls.models.detection.registry import build_detector, parse_detector_config
from xraycls.types import Objects

CONFIG = FasterRCNNConfig(
    backbone="resnet10",
    classes=("nodule", "opacity"),
    height=160,
    width=192,
    mean=(117.0,),
    suppression=Suppression(0.05, 0.4, 10),
    scales=(32.0, 64.0),
    ratios=(1.0, 2.0),
    pool_size=3,
    proposals=ProposalSettings(200, 20, 0.7),
    loss=FasterRCNNLoss(proposals=ProposalSettings(300, 40, 0.7), rpn_batch=32, roi_batch=16),
)


def detector_of(**changes: object) -> FasterRCNN:
    torch.manual_seed(0)
    return FasterRCNN(replace(CONFIG, **changes))


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, 1, 160, 192), generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="module")
def objects() -> Objects:
    boxes = torch.tensor([[20.0, 30, 60, 80], [100, 50, 150, 120], [10, 10, 90, 60]])
    return Objects(boxes, torch.tensor([0, 1, 1]), torch.tensor([0, 0, 2]), torch.zeros(3, dtype=torch.bool))


def test_a_configuration_survives_json():
    config = replace(CONFIG, loss=replace(CONFIG.loss, gt_as_roi=True), spread=(9.0, 9.0, 4.0, 4.0))
    assert parse_detector_config(config.described()) == config
    assert isinstance(build_detector(CONFIG), FasterRCNN)


def test_what_the_weights_depend_on():
    assert replace(CONFIG, proposals=ProposalSettings(9, 3, 0.5), dropout=0.5).architecture() == CONFIG.architecture()
    assert replace(CONFIG, pool_size=7).architecture() != CONFIG.architecture()


def test_shapes_of_what_it_gives(images):
    detector = detector_of().eval()
    with torch.inference_mode():
        rois, logits, deltas, rpn_logits, rpn_deltas = detector(images)
    assert rois.shape == (3, 20, 4)
    assert logits.shape == (3, 20, 3)
    assert deltas.shape == (3, 20, 2, 4)
    assert rpn_logits.shape == (3, 4, 10, 12)
    assert rpn_deltas.shape == (3, 16, 10, 12)


def test_a_picture_gives_alone_what_it_gives_in_a_batch(images):
    detector = detector_of().eval()
    with torch.inference_mode():
        together = detector.detect(detector(images))
        alone = [detector.detect(detector(images[n : n + 1]))[0] for n in range(3)]
    for one, other in zip(together, alone, strict=True):
        assert len(one) == len(other) <= 10
        assert one.labels.tolist() == other.labels.tolist()
        assert torch.allclose(torch.from_numpy(one.boxes), torch.from_numpy(other.boxes), atol=0.05)
        assert (one.boxes >= 0).all()
        assert (one.boxes <= [191, 159, 191, 159]).all()
        assert (one.scores > 0.05).all()
        assert (one.scores[:-1] >= one.scores[1:]).all()


def test_regions_that_fill_up_are_never_detected(images):
    detector = detector_of(suppression=Suppression(0.0, 0.4, 100)).eval()
    with torch.no_grad():
        rois, *others = detector(images[:1])
    rois[0, 5:] = 0
    [found] = detector.detect((rois, *others))
    assert 0 < len(found) <= 10  # five regions, two classes


def test_grey_levels_are_divided_by_the_scaling(images):
    plain, scaled = detector_of(), detector_of(scaling=58.0)
    assert torch.allclose(scaled.normalized(images) * 58.0, plain.normalized(images), atol=1e-4)
    assert detector_of(mean=(1.0, 2.0, 3.0)).normalized(images).shape == (3, 3, 160, 192)


def test_every_term_of_the_loss_reaches_its_layers(images, objects):
    detector = detector_of().train()
    terms = detector.loss(images, objects, torch.ones(3))
    assert set(terms) == {"rpn_class", "rpn_box", "roi_class", "roi_box"}
    reached = {"rpn_class": "rpn_out_class", "rpn_box": "rpn_out_regress"}
    reached |= {"roi_class": "dense_class", "roi_box": "dense_regress"}
    for term, layer in reached.items():
        parameters = dict(detector.net.named_parameters())
        gradients = torch.autograd.grad(terms[term], [*parameters.values()], retain_graph=True, allow_unused=True)
        touched = {name for name, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
        heads = {name.split(".")[0] for name in touched if name.startswith(("rpn_out", "dense_"))}
        assert heads == {layer}
        assert any(name.startswith("backbone.") for name in touched)


def test_the_weights_of_the_terms(images, objects):
    loss = replace(CONFIG.loss, rpn_class_weight=2.0, rpn_box_weight=3.0, roi_class_weight=4.0, roi_box_weight=5.0)
    plain, weighted = detector_of().eval(), detector_of(loss=loss).eval()
    with torch.inference_mode():
        before, after = (d.criterion(d(images), objects, torch.ones(3)) for d in (plain, weighted))
    for name, factor in {"rpn_class": 2.0, "rpn_box": 3.0, "roi_class": 4.0, "roi_box": 5.0}.items():
        assert float(after[name]) == pytest.approx(factor * float(before[name]), rel=1e-5)


def test_validation_draws_the_same_sample_every_time_and_training_does_not(images, objects):
    detector = detector_of()
    detector.freeze((), statistics=True)

    def once() -> float:
        with torch.no_grad():
            return float(torch.stack([*detector.loss(images, objects, torch.ones(3)).values()]).sum())

    detector.eval()
    assert once() == once()
    detector.train()
    assert once() != once()


def test_an_unreadable_picture_changes_no_loss(images, objects):
    detector = detector_of().eval()
    weights = torch.tensor([1.0, 0.0, 1.0])
    spoilt = images.clone()
    spoilt[1] = 255
    with torch.inference_mode():
        one, other = (detector.criterion(detector(each), objects, weights) for each in (images, spoilt))
    for name in one:
        assert float(one[name]) == pytest.approx(float(other[name]), rel=1e-4)


def test_pictures_without_objects_can_be_learnt_from(images):
    nothing = Objects(
        torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), torch.zeros(0) > 0
    )
    with torch.no_grad():
        terms = detector_of().train().loss(images, nothing, torch.ones(3))
    assert float(terms["rpn_box"]) == float(terms["roi_box"]) == 0
    assert float(terms["rpn_class"]) > 0
    assert float(terms["roi_class"]) > 0


def test_the_objects_own_boxes_can_be_regions(images, objects):
    # With proposals that are at most 3, only the objects' own boxes overlap them by so much.
    loss = replace(CONFIG.loss, proposals=ProposalSettings(10, 3, 0.7), roi_positive=0.99)
    with torch.no_grad():
        without, with_own = (
            detector_of(loss=replace(loss, gt_as_roi=own)).eval().loss(images, objects, torch.ones(3))
            for own in (False, True)
        )
    assert float(without["roi_box"]) == 0
    assert float(with_own["roi_box"]) > 0


def test_freezing_keeps_statistics_of_both_stages_while_normalisation_learns():
    detector = detector_of()
    detector.freeze((0, 1, 4), statistics=True)
    detector.train()
    norms = {name: m for name, m in detector.net.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert not any(norm.training for norm in norms.values())
    assert all(p.requires_grad for norm in norms.values() for p in norm.parameters())
    frozen = {
        detector.layer_names[n.rpartition(".")[0]] for n, p in detector.net.named_parameters() if not p.requires_grad
    }
    first = {"conv1", "block_1a_conv_1", "block_1a_conv_2", "block_1a_conv_shortcut"}
    assert frozen == first | {"block_4a_conv_1", "block_4a_conv_2", "block_4a_conv_shortcut"}
    detector.freeze((), statistics=False)
    assert all(norm.training for norm in norms.values() if detector.train())


@pytest.mark.parametrize("backbone", ["resnet10", "vgg16", "googlenet", "mobilenet_v1", "efficientnet_b0"])
def test_crops_of_twice_the_size_are_halved_in_the_second_stage(backbone):
    with torch.device("meta"):
        for double in (False, True):
            net = FasterRCNN(replace(CONFIG, backbone=backbone, pool_size_2x=double)).net
            assert net.crop_size == (6 if double else 3)
            crops = torch.zeros(2, net.rpn_conv1.in_channels, net.crop_size, net.crop_size)
            sizes: list[int] = []
            last = net.body.get_submodule("flatten" if backbone == "vgg16" else "avg_pool")
            last.register_forward_pre_hook(lambda module, inputs, sizes=sizes: sizes.append(inputs[0].shape[-1]))
            assert net.heads(crops)[0].shape == (2, 3)
            assert sizes == [3]


def test_dropout_is_where_tao_has_it():
    def rates(backbone: str) -> list[float]:
        with torch.device("meta"):
            net = FasterRCNN(replace(CONFIG, backbone=backbone, dropout=0.25)).net
        return [module.p for module in net.modules() if isinstance(module, nn.Dropout)]

    assert rates("vgg16") == [0.25, 0.25]
    assert rates("efficientnet_b0") == [0.25]
    assert rates("resnet10") == []


def test_every_layer_with_weights_has_a_name_of_its_own():
    detector = detector_of()
    weighted = {n for n, m in detector.net.named_modules() if [*m.parameters(recurse=False)]}
    assert set(detector.layer_names) == weighted
    assert len(set(detector.layer_names.values())) == len(weighted)


def test_a_backbone_without_a_second_half_is_refused():
    with pytest.raises(UsageError, match="backbone of Faster R-CNN"):
        detector_of(backbone="squeezenet")


@pytest.mark.slow
def test_an_exporter_gets_a_graph_of_any_batch(images):
    detector = detector_of().eval()
    batch = {0: torch.export.Dim("batch", min=1, max=16)}
    with torch.no_grad():
        graph = torch.export.export(detector, (images[:2],), dynamic_shapes=(batch,)).module()
        for count in (1, 3):
            for traced, expected in zip(graph(images[:count]), detector(images[:count]), strict=True):
                assert torch.allclose(traced, expected, atol=1e-3)

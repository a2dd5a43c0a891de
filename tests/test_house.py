"""The house rules that a reader would otherwise have to check by eye."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "xraycls"
STAGES = (
    "data",
    "loaders",
    "models",
    "training",
    "evaluation",
    "inference",
    "explain",
    "compress",
    "export",
    "serve",
    "tao",
    "workflows",
    "cli",
)
EVERYWHERE = {"types", "errors", "version", "progress", "page"}
MODULES = sorted(PACKAGE.rglob("*.py"))


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """A file's syntax, parsed once for all tests."""
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[str]:
    """Absolute names of what a file imports, within functions, too."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module or ""


def stage(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "xraycls" else None


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_data_flows_one_way(path):
    own = path.relative_to(PACKAGE).parts[0]
    if own not in STAGES:
        return
    for name in imports(path):
        used = stage(name)
        if used is None or used in EVERYWHERE:
            continue
        assert STAGES.index(used) <= STAGES.index(own), f"{path} imports {name} of a later stage"


BEHIND_A_FEATURE = (
    "timm pytorch_grad_cam tensorboard pydicom nvidia google google_crc32c kaggle kagglesdk requests fsspec "
    "faster_coco_eval torch_pruning cryptography h5py onnx onnxscript onnxruntime openvino optuna pyarrow ray s3fs "
    "tensorrt"
).split()


@pytest.mark.parametrize("package", BEHIND_A_FEATURE)
def test_a_package_behind_a_feature_is_not_imported_at_the_top(package):
    for path in MODULES:
        for node in tree_of(path).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == package for name in names), f"{path} imports {package} at the top"


def run(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node below one that may run: all but those for type checkers alone."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield node
            yield from run(node)


def test_any_module_can_be_the_first_to_be_imported():
    """No circle of imports, within functions neither: importing ``a.b`` from elsewhere runs ``a/__init__.py``, too."""
    named = {".".join(("xraycls", *p.relative_to(PACKAGE).with_suffix("").parts)): p for p in MODULES}
    modules = {name.removesuffix(".__init__"): path for name, path in named.items()}

    def needed(name: str) -> Iterator[str]:
        for node in run(tree_of(modules[name])):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            targets = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            for target in targets & modules.keys():
                parts = target.split(".")
                above = {".".join(parts[:count]) for count in range(2, len(parts))}
                yield from (each for each in {target, *above} if not f"{name}.".startswith(f"{each}."))

    edges = {name: set(needed(name)) for name in modules}
    while free := [name for name, targets in edges.items() if not targets]:
        for name in free:
            del edges[name]
        for targets in edges.values():
            targets.difference_update(free)
    assert not edges, f"these import each other: {', '.join(sorted(edges))}"


def test_only_the_command_line_prints():
    for path in MODULES:
        if path.relative_to(PACKAGE).parts[0] == "cli":
            continue
        for node in ast.walk(tree_of(path)):
            assert not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"), f"{path} prints"


def test_files_stay_small():
    lengths = {path: len(path.read_text().splitlines()) for path in MODULES}
    assert max(lengths.values()) <= 400, max(lengths, key=lengths.__getitem__)


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"], ["models"]])
def test_help_imports_no_torch(arguments):
    code = (
        "import sys\nfrom xraycls.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'torchvision', 'timm', 'sklearn', 'matplotlib', 'cv2'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_everything_promised_at_the_top_is_there():
    import xraycls

    for name in xraycls.__all__:
        assert getattr(xraycls, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'tran'"):
        _ = xraycls.tran


def test_predicting_imports_no_detector_and_no_compiler():
    """Torchvision by itself imports torch's compiler, which takes several times as long as all the rest."""
    code = (
        "import sys\nimport xraycls.workflows.predict\n"
        "heavy = {'torchvision', 'jinja2', 'xraycls.models.detection.base'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import xraycls.models.torchvision, xraycls.models.detection.ssd\n"
        "heavy = {'torch._dynamo', 'torch._dynamo.utils', 'sympy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_torchvision_is_imported_in_one_file():
    found = [path for path in MODULES if any(name.split(".")[0] == "torchvision" for name in imports(path))]
    assert [path.relative_to(PACKAGE).as_posix() for path in found] == ["models/torchvision.py"]

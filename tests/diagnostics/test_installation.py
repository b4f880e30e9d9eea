"""The doctor: failed checks with their fixes, optional parts that are absent, and a complete installation."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import save_file

from masqclip_d2.cli.doctor import main
from masqclip_d2.diagnostics import installation
from masqclip_d2.diagnostics.check_result import CheckResult, print_results, run_check
from masqclip_d2.diagnostics.installation import check_installation
from masqclip_d2.ops import selection


def results() -> dict[str, CheckResult]:
    return {result.subject: result for result in check_installation(run=False)}


@pytest.fixture(autouse=True)
def _own_caches(own_cache, monkeypatch):
    monkeypatch.delenv("MASQCLIP_TEXT_CACHE", raising=False)
    monkeypatch.delenv("MASQCLIP_OPS", raising=False)


def test_all_checks_pass_here_and_a_sample_image_is_segmented(capsys):
    main([])
    output = capsys.readouterr().out
    assert "FAILED" not in output and output.endswith("All checks passed.\n")
    (line,) = [line for line in output.splitlines() if line.split()[1] == "run"]
    assert "segments (" in line
    for subject in (
        "python",
        "torch",
        "open_clip_torch",
        "detectron2",
        "device",
        "ops",
        "weights",
        "text cache",
        "lvis",
    ):
        assert f"  {subject}" in output


def test_quick_skips_the_run_and_a_failed_check_sets_the_exit_code(capsys, monkeypatch):
    monkeypatch.setenv("MASQCLIP_OPS", "tritom")
    with pytest.raises(SystemExit) as stopped:
        main(["--quick"])
    output = capsys.readouterr().out
    assert stopped.value.code == 1 and "  run  " not in output
    (line,) = [line for line in output.splitlines() if "FAILED" in line]
    assert "MASQCLIP_OPS is 'tritom'" in line and "auto, reference, torch" in line
    assert "1 of " in output.splitlines()[-1]


def test_implementation_of_each_op_and_the_reason(monkeypatch):
    ops = "mask_refinement, masked_attention, ms_deform_attn, panoptic_winners, relative_scores, semantic_labels"
    text = results()["ops"].message
    assert text == f"cpu: torch ({ops}), since auto selects kernels on CUDA devices only"
    monkeypatch.setenv("MASQCLIP_OPS", "reference")
    assert (
        results()["ops"].message
        == f"cpu: reference ({ops}), since the environment variable MASQCLIP_OPS is 'reference'"
    )


@pytest.mark.parametrize("problem, selected", [("", "triton"), ("the GPU is too old", "torch")])
def test_implementation_of_each_op_on_a_gpu(monkeypatch, problem, selected):
    monkeypatch.setattr(installation, "_default_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(selection, "triton_problem", lambda device: problem)
    on_gpu, on_cpu = results()["ops"].message.split("; ")
    assert on_gpu.startswith(f"cuda: {selected} (mask_refinement, ") and on_cpu.startswith("cpu: torch (")
    assert on_gpu.endswith(f"since {problem or 'auto selects kernels on CUDA devices'}")


@pytest.mark.parametrize(
    "choice, kind, reason",
    [
        ("auto", "bundled", "no other is installed; a checkout of facebookresearch/detectron2 on PYTHONPATH"),
        ("auto", "real", "installed, so the bundled subset is not used"),
        ("bundled", "bundled", "MASQCLIP_D2=bundled"),
    ],
)
def test_detectron2_backend_and_the_reason_for_it(monkeypatch, choice, kind, reason):
    from masqclip_d2._compat import Detectron2Backend

    monkeypatch.setenv("MASQCLIP_D2", choice)
    monkeypatch.setattr(installation, "detectron2_backend", lambda: Detectron2Backend(kind, "0.6", "/there"))
    assert results()["detectron2"].message.startswith(f"{kind} detectron2 0.6 (/there): {reason}")


def test_a_package_that_does_not_load(monkeypatch):
    monkeypatch.setattr(installation, "_MODULES", ("json", "no_such_module"))
    result = results()["imports"]
    assert not result.ok and "no_such_module is installed but cannot be imported" in result.message


def test_a_driver_that_torch_cannot_use(monkeypatch):
    monkeypatch.setattr(installation.torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(installation.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(installation.torch.version, "cuda", None)
    result = results()["device"]
    assert not result.ok and "was built without CUDA, though this machine has NVIDIA's driver" in result.message


def test_a_device_without_kernels(monkeypatch):
    """The meta device stands in for a GPU that the build does not support: its tensors have no values."""
    accelerator = installation.torch.accelerator
    monkeypatch.setattr(accelerator, "is_available", lambda: True)
    monkeypatch.setattr(accelerator, "current_accelerator", lambda: torch.device("meta"))
    monkeypatch.setattr(accelerator, "device_count", lambda: 1)
    result = results()["device"]
    assert not result.ok and "\n" not in result.message


def test_shipped_weights(monkeypatch, tmp_path):
    assert "masqclip://shapes_clip" in results()["weights"].message
    monkeypatch.setattr(installation.reading, "SHIPPED_DIR", tmp_path)
    result = results()["weights"]
    assert not result.ok and "no shipped weights 'shapes_masqclip'" in result.message
    for name in ("shapes_clip", "shapes_masqclip"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"cut")
    result = results()["weights"]
    assert not result.ok and "cannot be read: it is truncated" in result.message


def test_openai_weights(own_cache, monkeypatch):
    result = results()["OpenAI's CLIP"]
    assert result.absent and result.ok
    assert f"none in {own_cache}" in result.message and "masqclip download ViT-L/14@336px" in result.message
    own_cache.mkdir()
    path = own_cache / "ViT-B-32.pt"
    path.write_bytes(b"PK")
    result = results()["OpenAI's CLIP"]
    assert not result.ok and f"{path} is damaged or another file" in result.message
    model = {**installation.OPENAI_MODELS["ViT-B/32"], "sha256": hashlib.sha256(b"PK").hexdigest()}
    monkeypatch.setitem(installation.OPENAI_MODELS, "ViT-B/32", model)
    result = results()["OpenAI's CLIP"]
    assert result.ok and not result.absent and result.message == "on this disk: ViT-B/32"


def test_open_clip_weights(own_cache, tmp_path):
    assert results()["open_clip's CLIPs"].absent
    repo = tmp_path / "huggingface" / "models--laion--CLIP-ViT-B-16-laion2B-s34B-b88K"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("1234")
    (repo / "snapshots" / "1234").mkdir(parents=True)
    save_file({}, repo / "snapshots" / "1234" / "open_clip_model.safetensors")
    assert results()["open_clip's CLIPs"].message == "on this disk: open_clip:ViT-B-16/laion2b_s34b_b88k"
    path = own_cache / "hf" / "laion" / "CLIP-ViT-B-16-laion2B-s34B-b88K" / "main" / "open_clip_model.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"<html>")
    result = results()["open_clip's CLIPs"]
    assert not result.ok and f"{path} is not usable: it is a web page" in result.message


def test_text_cache(monkeypatch, tmp_path):
    folder = tmp_path / "texts"
    monkeypatch.setenv("MASQCLIP_TEXT_CACHE", str(folder))
    assert results()["text cache"].message == f"{folder}: 0 vocabularies, 0.0 MiB"
    folder.mkdir()
    (folder / "a.safetensors").write_bytes(bytes(2**20))
    assert results()["text cache"].message == f"{folder}: 1 vocabularies, 1.0 MiB"
    (tmp_path / "file").touch()
    monkeypatch.setenv("MASQCLIP_TEXT_CACHE", str(tmp_path / "file" / "texts"))
    result = results()["text cache"]
    assert not result.ok and "is not writable; set MASQCLIP_TEXT_CACHE" in result.message
    monkeypatch.setenv("MASQCLIP_TEXT_CACHE", "off")
    assert results()["text cache"].absent


def test_datasets(monkeypatch, mini_shapes, tmp_path):
    from masqclip_d2.shapes.registration import register_shapes

    monkeypatch.setattr(installation, "_PREFIX", "nothing_")
    register_shapes(tmp_path / "nowhere", prefix="nothing_")
    assert results()["datasets"].absent and "none of 7 in" in results()["datasets"].message
    monkeypatch.setattr(installation, "_PREFIX", "mini_shapes_")
    result = results()["datasets"]
    assert result.ok and not result.absent
    assert "7 of 7 in" in result.message and "mini_shapes_captions, mini_shapes_closeups" in result.message


def test_an_optional_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(installation, "_OPTIONAL", {"no_such_package": "for dreams"})
    result = results()["no_such_package"]
    assert result.absent and result.message == "not installed; for dreams"


def test_each_result_is_printed_on_one_line(capsys):
    print_results(
        [
            run_check("sum", lambda: "1"),
            run_check("fault", lambda: json.loads("[\n1,")),
            CheckResult("x", True, "no", absent=True),
        ]
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["ok", "sum"], ["FAILED", "fault"], ["-", "x"]]

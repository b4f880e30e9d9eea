"""What the doctor says where something is wrong, where it is only not there, and where all is right."""

import json
import zipfile

import pytest
import torch

from masqclip_d2.cli.doctor import main
from masqclip_d2.diagnostics import installation
from masqclip_d2.diagnostics.check_result import CheckResult, print_results, run_check
from masqclip_d2.diagnostics.installation import check_installation


def findings() -> dict[str, CheckResult]:
    return {finding.subject: finding for finding in check_installation(run=False)}


@pytest.fixture(autouse=True)
def _own_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("MASQCLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MASQCLIP_TEXT_CACHE", raising=False)
    monkeypatch.delenv("MASQCLIP_OPS", raising=False)


def test_all_is_right_here_and_it_segments(capsys):
    main([])
    output = capsys.readouterr().out
    assert "FAILED" not in output and output.endswith("All checks passed.\n")
    (line,) = [line for line in output.splitlines() if line.split()[1] == "run"]
    assert "segments (" in line
    for what in ("python", "torch", "open_clip_torch", "detectron2", "device", "ops", "weights", "text cache", "lvis"):
        assert f"  {what}" in output


def test_quick_leaves_the_run_out_and_a_fault_is_the_exit_code(capsys, monkeypatch):
    monkeypatch.setenv("MASQCLIP_OPS", "tritom")
    with pytest.raises(SystemExit) as stopped:
        main(["--quick"])
    output = capsys.readouterr().out
    assert stopped.value.code == 1 and "  run  " not in output
    (line,) = [line for line in output.splitlines() if "FAILED" in line]
    assert "MASQCLIP_OPS is 'tritom'" in line and "auto, reference, torch" in line
    assert "1 of " in output.splitlines()[-1]


def test_which_form_of_each_op_runs(monkeypatch):
    text = findings()["ops"].message
    assert text.startswith("cpu: torch (mask_refinement, masked_attention, ms_deform_attn, relative_scores)")
    monkeypatch.setenv("MASQCLIP_OPS", "reference")
    assert "cpu: reference (" in findings()["ops"].message and "MASQCLIP_OPS=reference" in findings()["ops"].message


@pytest.mark.parametrize(
    "choice, kind, why",
    [
        ("auto", "bundled", "no other can be imported; a checkout of facebookresearch/detectron2 on PYTHONPATH"),
        ("auto", "real", "it can be imported"),
        ("bundled", "bundled", "as MASQCLIP_D2=bundled says"),
    ],
)
def test_which_detectron2_and_why(monkeypatch, choice, kind, why):
    from masqclip_d2._compat import Detectron2Backend

    monkeypatch.setenv("MASQCLIP_D2", choice)
    monkeypatch.setattr(installation, "detectron2_backend", lambda: Detectron2Backend(kind, "0.6", "/there"))
    assert findings()["detectron2"].message.startswith(f"{kind} detectron2 0.6 (/there): {why}")


def test_a_package_that_does_not_load(monkeypatch):
    monkeypatch.setattr(installation, "_MODULES", ("json", "no_such_module"))
    finding = findings()["imports"]
    assert not finding.ok and "no_such_module is installed but cannot be imported" in finding.message


def test_a_driver_that_torch_cannot_use(monkeypatch):
    monkeypatch.setattr(installation.torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(installation.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(installation.torch.version, "cuda", None)
    finding = findings()["device"]
    assert not finding.ok and "was built without CUDA, though this machine has NVIDIA's driver" in finding.message


def test_a_device_that_cannot_compute(monkeypatch):
    """The meta device stands for a GPU that the build has no kernels for: its products have no numbers."""
    accelerator = installation.torch.accelerator
    monkeypatch.setattr(accelerator, "is_available", lambda: True)
    monkeypatch.setattr(accelerator, "current_accelerator", lambda: torch.device("meta"))
    monkeypatch.setattr(accelerator, "device_count", lambda: 1)
    finding = findings()["device"]
    assert not finding.ok and "\n" not in finding.message


def test_weights_that_ship(monkeypatch, tmp_path):
    assert "masqclip://shapes_clip" in findings()["weights"].message
    monkeypatch.setattr(installation.reading, "SHIPPED_DIR", tmp_path)
    finding = findings()["weights"]
    assert not finding.ok and "no shipped weights named" in finding.message
    for name in ("shapes_clip", "shapes_masqclip"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"cut")
    finding = findings()["weights"]
    assert not finding.ok and "cannot be read: it is truncated" in finding.message


def test_openai_weights(tmp_path):
    finding = findings()["OpenAI's CLIP"]
    assert finding.absent and finding.ok
    assert f"none in {tmp_path / 'cache'}" in finding.message and "/ViT-L-14-336px.pt there" in finding.message
    (tmp_path / "cache").mkdir()
    path = tmp_path / "cache" / "ViT-B-32.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ViT-B-32/constants.pkl", b"")
    finding = findings()["OpenAI's CLIP"]
    assert not finding.absent and finding.message == f"ViT-B/32 in {tmp_path / 'cache'}"
    path.write_bytes(path.read_bytes()[:20])
    finding = findings()["OpenAI's CLIP"]
    assert not finding.ok and f"{path} is damaged or incomplete" in finding.message


def test_open_clip_weights(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert findings()["open_clip's CLIPs"].absent
    (tmp_path / "models--laion--CLIP-ViT-B-16-laion2B-s34B-b88K" / "snapshots" / "1").mkdir(parents=True)
    text = findings()["open_clip's CLIPs"].message
    assert text == f"open_clip:ViT-B-16/laion2b_s34b_b88k in {tmp_path}"


def test_text_cache(monkeypatch, tmp_path):
    folder = tmp_path / "texts"
    monkeypatch.setenv("MASQCLIP_TEXT_CACHE", str(folder))
    assert findings()["text cache"].message == f"{folder}: 0 vocabularies, 0.0 MiB"
    folder.mkdir()
    (folder / "a.safetensors").write_bytes(bytes(2**20))
    assert findings()["text cache"].message == f"{folder}: 1 vocabularies, 1.0 MiB"
    (tmp_path / "file").touch()
    monkeypatch.setenv("MASQCLIP_TEXT_CACHE", str(tmp_path / "file" / "texts"))
    finding = findings()["text cache"]
    assert not finding.ok and "cannot be written to; set MASQCLIP_TEXT_CACHE" in finding.message
    monkeypatch.setenv("MASQCLIP_TEXT_CACHE", "off")
    assert findings()["text cache"].absent


def test_datasets(monkeypatch, mini_shapes, tmp_path):
    from masqclip_d2.shapes.registration import register_shapes

    monkeypatch.setattr(installation, "_PREFIX", "nothing_")
    register_shapes(tmp_path / "nowhere", prefix="nothing_")
    assert findings()["datasets"].absent and "none of 7 in" in findings()["datasets"].message
    monkeypatch.setattr(installation, "_PREFIX", "mini_shapes_")
    finding = findings()["datasets"]
    assert finding.ok and not finding.absent
    assert "7 of 7 in" in finding.message and "mini_shapes_captions, mini_shapes_closeups" in finding.message


def test_an_optional_package_that_is_not_there(monkeypatch):
    monkeypatch.setattr(installation, "_OPTIONAL", {"no_such_package": "only dreams need it"})
    finding = findings()["no_such_package"]
    assert finding.absent and finding.message == "is not installed; only dreams need it"


def test_findings_are_told_in_one_line_each(capsys):
    print_results(
        [
            run_check("sum", lambda: "1"),
            run_check("fault", lambda: json.loads("[\n1,")),
            CheckResult("x", True, "no", absent=True),
        ]
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["ok", "sum"], ["FAILED", "fault"], ["-", "x"]]

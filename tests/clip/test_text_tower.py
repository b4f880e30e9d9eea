import torch
from torch import nn

from masqclip_d2.clip import module_digest


def test_digest_depends_on_values_names_dtypes_and_settings():
    module = nn.Linear(3, 2)
    digests = [module_digest(module), module_digest(module, "cased"), module_digest(nn.Sequential(module))]
    with torch.no_grad():
        module.bias[0] += 1
    digests += [module_digest(module), module_digest(module.half())]
    assert len(set(digests)) == 5


def test_digest_of_a_copy_is_the_same():
    module, copy = nn.Linear(3, 2), nn.Linear(3, 2)
    copy.load_state_dict(module.state_dict())
    assert module_digest(copy, 7) == module_digest(module, 7)

import pytest

import masqclip_d2
from masqclip_d2.renamed_arguments import renamed_arguments


@renamed_arguments(size="hw")
def area(hw=(1, 2)):
    return hw[0] * hw[1]


def test_the_new_name_is_passed_on():
    assert area(hw=(2, 3)) == area((2, 3)) == 6


def test_the_former_name_is_refused_with_the_new_one():
    with pytest.raises(TypeError, match="area: the argument 'size' is now called 'hw'"):
        area(size=(2, 3))


@pytest.mark.parametrize("old, new", [("image_ending", "image_suffix"), ("label_ending", "label_suffix")])
def test_register_semantic(old, new):
    with pytest.raises(TypeError, match=f"register_semantic: the argument '{old}' is now called '{new}'"):
        masqclip_d2.register_semantic("mine", "images", "labels", "a,b", **{old: ".png"})

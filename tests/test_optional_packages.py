"""Missing optional packages are named together with the command that installs them."""

import pytest

from masqclip_d2.optional_packages import require_packages


def test_installed_packages_pass():
    require_packages("Drawing", "test", "torch", "numpy")


def test_missing_packages_are_named():
    message = r"Drawing needs the packages no_such_one, nor_this: pip install 'masqclip_d2\[drawing\]'\."
    with pytest.raises(ImportError, match=message):
        require_packages("Drawing", "drawing", "no_such_one", "torch", "nor_this")

"""The admission of this package does what every admission has to."""

import pytest
from sashizu_core.testing import AdmissionContract


class TestLocalAdmission(AdmissionContract):
    @pytest.fixture
    def admission(self, lab):
        return lab.admission

    @pytest.fixture
    def info(self, lab):
        return lab.model("near", 4)

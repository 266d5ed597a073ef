"""What all tests share: services that must be there where somebody says so."""

import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--require",
        action="append",
        default=[],
        metavar="NAME",
        help="fail, instead of skipping, where this service or backend is absent (docker, local, …)",
    )


@pytest.fixture(scope="session")
def absent(request):
    """Skip a test whose service is absent, or fail it where the service is required: ``absent(name, why)``."""

    def tell(name, why):
        if name in request.config.getoption("--require"):
            pytest.fail(f"{name} is required and absent: {why}", pytrace=False)
        pytest.skip(f"{name} is absent: {why}")

    return tell

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METARL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def weights_from_a_seed() -> Iterator[None]:
    import torch  # here, since most tests don't need it

    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METARL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def undrawn() -> Iterator[None]:
    """Runs end without images, in tests that look at none: drawing takes longer than a tiny training."""
    from metarl.experiments import run
    from metarl.report.draw import Drawn

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "draw_run", lambda folder: Drawn({}, []))
        patch.setattr(run, "film_run", lambda done: None)
        yield


@pytest.fixture
def weights_from_a_seed() -> Iterator[None]:
    import torch  # here, since most tests don't need it

    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield

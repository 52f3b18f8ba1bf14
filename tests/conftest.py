"""For all test folders: real servers when a test first asks for one, PyTorch and Flower if they are there."""

pytest_plugins = ["tests.servers.fixtures", "tests.torch.plugin", "tests.flower.plugin"]

"""For all test folders: real servers when a test first asks for one, PyTorch if it is there."""

pytest_plugins = ["tests.servers.fixtures", "tests.torch.plugin"]

"""For all test folders: real servers when a test first asks for one, what is optional if there."""

pytest_plugins = ["tests.servers.fixtures", "tests.torch.plugin", "tests.flower.plugin"]

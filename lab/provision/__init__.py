"""What ``lab.toml`` declares, brought about step by step."""

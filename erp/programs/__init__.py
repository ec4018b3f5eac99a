"""The commands: each is main(arguments) -> run(config) -> a result."""

"""The commands: each is main(arguments) -> run(config) -> a result; `launch` is what they share."""

"""The command `sne`: one module per subcommand, each of which parses, calls the library and prints."""

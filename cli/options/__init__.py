"""Options shared by commands, a file per heading of the help. Defaults are in `ProtectConfig` and in the commands."""

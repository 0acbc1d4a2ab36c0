"""The command: its verbs, their arguments and help, what is printed, and what only a command does to its process."""

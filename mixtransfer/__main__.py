import sys

from mixtransfer.commandline.cli import main

sys.exit(main())

import sys

from mixtransfer.cli import main

sys.exit(main())

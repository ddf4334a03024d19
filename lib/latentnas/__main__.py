import sys

from latentnas.cli import main

sys.exit(main())

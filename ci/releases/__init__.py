"""What is released where: the ledger of this machine, that of a cluster, and the champion."""

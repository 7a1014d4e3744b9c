"""Where data comes from: MS MARCO, BEIR directories, MTEB tasks and the tiny world."""

"""How rows hold conversations, in the layouts of many tools."""

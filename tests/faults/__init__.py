"""The whole product under faults: parts of the store and the queue, crossed with faults and commands.

`table` has the parts, the faults and the commands, `known` what still fails, `story` tells what happened before,
`cell` runs one crossing and judges it, and `runner` runs `ark`.
"""

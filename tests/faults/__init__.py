"""The whole product under faults: every part of the store and the queue, with every fault, for every command.

`table` has the parts, faults and commands; `known` what still fails; `story` prepares the homes; `cell` runs and judges
one combination; `runner` runs `ark`.
"""

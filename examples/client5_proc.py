#!/usr/bin/env python3
"""The program that client5.py runs at servers: any program would do that reads lines and writes lines.

echo 360 | python client5_proc.py
"""

import sys

for line in sys.stdin:
    number, divisor, factors = int(line), 2, []
    while divisor * divisor <= number:
        if number % divisor:
            divisor += 1
        else:
            number //= divisor
            factors.append(divisor)
    print(line.strip(), "=", *[*factors, number], flush=True)

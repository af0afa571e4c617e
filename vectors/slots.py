"""Known answers for the scheme with real slots, from its definition, with schoolbook products.

Run `python3 slots.py > slots.txt`. Needs numpy. Shares nothing with the Rust code.

Elements are a_0 + sum a_i (Y^i + Y^-i) with Y^(2n) = -1; slot j is the value at Y = exp(i pi 5^j / 2n). Coefficients stand
modulo two primes. A checksum of c is sum (i + 1) c_i modulo the prime.
"""

import numpy as np

N = 4096
PRIMES = [268369921, 67043329]
SCALE = 2.0**26
PLACES = [0, 1, 2, 77, 4095]

i = np.arange(N, dtype=np.int64)
secret = (i * i + 3 * i) * 7 % 11 % 3 - 1
error = i * 5 % 13 - 6


def uniform(k, p):
    return np.array([pow(int(v) + k, 3, p) * 48271 % p for v in i], dtype=np.int64)


def whole(a):
    """Coefficients of Y^0 .. Y^(2n-1)."""
    return np.concatenate([a, [0], -a[:0:-1]])


def product(a, b, p):
    x, y, total = whole(a), whole(b), np.zeros(2 * N, dtype=np.int64)
    for k in range(2 * N):
        if x[k]:
            shifted = np.concatenate([-y[2 * N - k:], y[: 2 * N - k]])
            total = (total + int(x[k]) * shifted) % p
    return total[:N]


def substitute(a, g, p):
    out = np.zeros(2 * N, dtype=np.int64)
    for k, v in enumerate(whole(a)):
        e = k * g % (4 * N)
        out[e % (2 * N)] = v if e < 2 * N else -v
    return out[:N] % p


def angle(j):
    return np.pi * pow(5, j, 4 * N) / (2 * N)


def encode(x):
    """The coefficients (1/n) sum_j x_j cos(i angle_j) of slots x, times the scale, rounded."""
    angles = np.array([angle(j) for j in range(N)])
    rows = [np.dot(np.cos(k * angles), x) / N for k in range(N)]
    return np.rint(np.array(rows) * SCALE).astype(np.int64)


def lift(residues):
    """Centred integers from residues modulo both primes."""
    (p, q), (a, b) = PRIMES, residues
    inverse = pow(p, -1, q)
    numbers = [int(u) + p * ((int(v) - int(u)) * inverse % q) for u, v in zip(a, b)]
    return [v - p * q if v > p * q // 2 else v for v in numbers]


def decrypt(parts, scale):
    phases = []
    for p, limbs in zip(PRIMES, zip(*parts)):
        total = np.zeros(N, dtype=np.int64)
        for part in reversed(limbs):
            total = (product(total, secret, p) + part) % p
        phases.append(total)
    c = np.array([float(v) for v in lift(phases)]) / scale
    return [c[0] + 2 * np.dot(c[1:], np.cos(np.arange(1, N) * angle(j))) for j in PLACES]


def encrypt(slots, k):
    message = encode(slots) + error
    return [[(message - product(secret, uniform(k, p), p)) % p for p in PRIMES], [uniform(k, p) for p in PRIMES]]


def show(name, limbs):
    for limb, p in zip(limbs, PRIMES):
        checksum = sum((k + 1) * int(v) for k, v in enumerate(limb)) % p
        print(name, p, *limb[:4], checksum)


x, y = np.cos(0.1 * i), 0.5 * np.sin(0.2 * i)
a, b = encrypt(x, 1), encrypt(y, 2)
show("body", a[0])
print("decrypted", *[f"{v:.12f}" for v in decrypt(a, SCALE)])
show("rotated-77", [substitute(limb, pow(5, 77, 4 * N), p) for limb, p in zip(a[0], PRIMES)])
pairs = list(zip(PRIMES, zip(a[0], a[1]), zip(b[0], b[1])))
parts = [
    [product(u[0], v[0], p) for p, u, v in pairs],
    [(product(u[0], v[1], p) + product(u[1], v[0], p)) % p for p, u, v in pairs],
    [product(u[1], v[1], p) for p, u, v in pairs],
]
for name, part in zip(["product-0", "product-1", "product-2"], parts):
    show(name, part)
print("decrypted-product", *[f"{v:.12f}" for v in decrypt(parts, SCALE * SCALE)])

"""A small corpus whose scores were also computed with pycocoevalcap 1.2."""

CANDIDATES = [
    "a brown dog runs on the grass",
    "two men ride bikes down a street",
    "a child in a red coat",
    "a man a man a man climbs a rock wall",
]

REFERENCES = [
    [
        "A brown dog is running through the grass.",
        "The dog runs on green grass.",
        "A dog runs on the lawn with a ball.",
    ],
    ["Two men are riding bikes on a city street.", "Two cyclists ride down a street."],
    [
        "A child plays in the snow.",
        "A girl's red coat is covered with snow.",
        "A small child in a red coat throws a snowball.",
    ],
    ["A man climbs a rock wall.", "A climber hangs from the rock face."],
]

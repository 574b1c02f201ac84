"""What people and organizations are called. Addresses end in `.example`, where nobody can ever get a mail."""

from __future__ import annotations

GIVEN = (
    *("Ada", "Alan", "Grace", "Edsger", "Barbara", "Donald", "Margaret", "Dennis", "Frances", "Niklaus", "Radia"),
    *("Zoë", "José", "Łukasz", "Søren", "Anaïs", "Jürgen", "Chloé", "Nuño", "Ingrid", "Björn", "Siân", "Renée"),
    *("Maria", "Ivan", "Olga", "Dmitri", "Priya", "Arjun", "Ananya", "Rahul", "Mei", "Wei", "Yuki", "Haruto"),
    *("Amina", "Chidi", "Ngozi", "Kwame", "Fatima", "Omar", "Layla", "Yusuf", "Noa", "Eitan", "Thandi", "Sipho"),
    *("Emma", "Liam", "Olivia", "Noah", "Sofia", "Lucas", "Mia", "Mateo", "Isabella", "Hugo", "Camila", "Diego"),
    *("李娜", "王伟", "أحمد", "נועה", "Αλέξης", "Дарья", "さくら", "지민"),
)

FAMILY = (
    *(
        "Lovelace",
        "Turing",
        "Hopper",
        "Dijkstra",
        "Liskov",
        "Knuth",
        "Hamilton",
        "Ritchie",
        "Allen",
        "Wirth",
        "Perlman",
    ),
    *("O'Brien", "García", "Nowak", "Sørensen", "Müller", "Dubois", "Fernández", "Larsson", "Évans", "van der Berg"),
    *("Rossi", "Petrov", "Ivanova", "Sharma", "Patel", "Iyer", "Chen", "Zhang", "Tanaka", "Sato", "Kim", "Nguyen"),
    *("Okafor", "Mensah", "Diallo", "Haddad", "Khan", "Cohen", "Levi", "Dlamini", "Nkosi", "Silva", "Costa", "Santos"),
    *("Smith", "Johnson", "Brown", "Taylor", "Wilson", "Clark", "Lewis", "Walker", "Young", "Wright", "Scott", "Baker"),
    *("Smith-Jones", "D'Angelo", "MacDonald", "Ó Conaill", "Şahin", "Horváth", "Dvořák", "Papadopoulos", "Kowalczyk"),
)

FIRST_OF_COMPANY = (
    *("Northern", "Blue", "Copper", "Quiet", "Bright", "Second", "Open", "Harbour", "Maple", "Silver", "Granite"),
    *("Lantern", "Orchard", "Meridian", "Cobalt", "Juniper", "Atlas", "Beacon", "Cedar", "Ember", "Falcon", "Glacier"),
    *("Hazel", "Iris", "Kestrel", "Lumen", "Mosaic", "Nimbus", "Onyx", "Prairie", "Quartz", "River", "Saffron"),
)

SECOND_OF_COMPANY = (
    *("Analytics", "Logistics", "Health", "Energy", "Foods", "Robotics", "Media", "Travel", "Insurance", "Education"),
    *("Software", "Design", "Mobility", "Retail", "Finance", "Bio", "Legal", "Security", "Studios", "Works"),
)

FORMS = ("Ltd", "GmbH", "Inc.", "B.V.", "S.A.", "AB", "Oy", "K.K.", "Pty Ltd", "& Co.", "")

LANDS = (  # country, locale, time zone, how many of a hundred
    ("US", "en-US", "America/New_York", 24),
    ("US", "en-US", "America/Los_Angeles", 12),
    ("GB", "en-GB", "Europe/London", 14),
    ("DE", "de-DE", "Europe/Berlin", 13),
    ("FR", "fr-FR", "Europe/Paris", 9),
    ("ES", "es-ES", "Europe/Madrid", 6),
    ("SE", "sv-SE", "Europe/Stockholm", 4),
    ("BR", "pt-BR", "America/Sao_Paulo", 5),
    ("IN", "en-IN", "Asia/Kolkata", 5),
    ("JP", "ja-JP", "Asia/Tokyo", 4),
    ("AU", "en-AU", "Australia/Sydney", 3),
    ("NP", "ne-NP", "Asia/Kathmandu", 1),
)

AGENTS = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
)

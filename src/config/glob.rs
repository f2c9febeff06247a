//! Patterns of host paths, as glob(7) reads them.

/// What a character, or any number of them, of a path's component may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GlobToken<'a> {
    /// Itself.
    Literal(char),
    /// `?`.
    One,
    /// `*`.
    Any,
    /// `[…]`, without the brackets.
    Set(&'a str),
}

/// Returns whether some path may match both patterns. No wildcard matches `/`, or `.` at the
/// beginning of a component.
pub(super) fn overlap(a: &str, b: &str) -> bool {
    let (a, b): (Vec<&str>, Vec<&str>) = (a.split('/').collect(), b.split('/').collect());
    a.len() == b.len()
        && a.iter()
            .zip(&b)
            .all(|(a, b)| components_overlap(&tokens(a), &tokens(b)))
}

fn tokens(component: &str) -> Vec<GlobToken<'_>> {
    let mut found = Vec::new();
    let mut rest = component;
    while let Some(c) = rest.chars().next() {
        let set = rest.strip_prefix('[').and_then(|inside| {
            // A bracket that comes first, after a negation too, is one of the characters.
            let skipped = inside.len() - inside.trim_start_matches(['!', '^']).len();
            let end = inside.get(skipped + 1..)?.find(']')? + skipped + 1;
            Some(&inside[..end])
        });
        let (token, length) = match (c, set) {
            ('*', _) => (GlobToken::Any, 1),
            ('?', _) => (GlobToken::One, 1),
            (_, Some(set)) => (GlobToken::Set(set), set.len() + 2),
            (c, None) => (GlobToken::Literal(c), c.len_utf8()),
        };
        found.push(token);
        rest = &rest[length..];
    }
    found
}

fn components_overlap(a: &[GlobToken<'_>], b: &[GlobToken<'_>]) -> bool {
    let hides = |wild: &[GlobToken<'_>], plain: &[GlobToken<'_>]| {
        plain.first() == Some(&GlobToken::Literal('.'))
            && !matches!(wild.first(), Some(GlobToken::Literal(_)))
    };
    if hides(a, b) || hides(b, a) {
        return false;
    }
    // `reach[j]`: whether what is left of `a` and `b[j..]` have a text in common; from the end on.
    let mut reach: Vec<bool> = vec![false; b.len() + 1];
    for i in (0..=a.len()).rev() {
        let after = std::mem::replace(&mut reach, vec![false; b.len() + 1]);
        for j in (0..=b.len()).rev() {
            reach[j] = match (a.get(i), b.get(j)) {
                (None, None) => true,
                // It matches nothing, or one more of what the other side has.
                (Some(GlobToken::Any), other) => after[j] || (other.is_some() && reach[j + 1]),
                (one, Some(GlobToken::Any)) => reach[j + 1] || (one.is_some() && after[j]),
                (Some(one), Some(other)) => one.meets(*other) && after[j + 1],
                _ => false,
            };
        }
    }
    reach[0]
}

impl GlobToken<'_> {
    /// Whether one character may be both. Of two sets that is not looked into.
    fn meets(self, other: Self) -> bool {
        match (self, other) {
            (Self::Literal(a), Self::Literal(b)) => a == b,
            (Self::Literal(c), Self::Set(set)) | (Self::Set(set), Self::Literal(c)) => {
                contains(set, c)
            }
            _ => true,
        }
    }
}

fn contains(set: &str, c: char) -> bool {
    let (is_negated, inside) = match set.strip_prefix(['!', '^']) {
        Some(inside) => (true, inside),
        None => (false, set),
    };
    // Classes like `[:digit:]` may be anything.
    if inside.contains("[:") {
        return true;
    }
    let members: Vec<char> = inside.chars().collect();
    let mut found = false;
    let mut at = 0;
    while let Some(&first) = members.get(at) {
        match (members.get(at + 1), members.get(at + 2)) {
            (Some('-'), Some(&last)) => {
                found |= (first..=last).contains(&c);
                at += 3;
            }
            _ => {
                found |= first == c;
                at += 1;
            }
        }
    }
    found != is_negated
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_overlap_where_a_path_can_match_both() {
        for (a, b) in [
            ("/var/log/shop/*.log", "/var/log/shop/access.log"),
            ("/var/log/*/a.log", "/var/log/shop/*.log"),
            ("/l/web-*.log", "/l/*-access.log"),
            ("/l/a?c", "/l/ab*"),
            ("/l/[a-c]x", "/l/bx"),
            ("/l/[!a]x", "/l/bx"),
            ("/l/[]x]", "/l/]"),
            ("/l/[ab", "/l/[ab"),
            ("/l/.*", "/l/.x"),
        ] {
            assert!(overlap(a, b) && overlap(b, a), "{a} {b}");
        }
        for (a, b) in [
            ("/l/*.log", "/l/a.err"),
            ("/l/*.log", "/l/x/a.log"),
            ("/l/*", "/l/.hidden"),
            ("/l/web-*.log", "/l/worker-*.log"),
            ("/l/[a-c]x", "/l/dx"),
            ("/l/[!a]x", "/l/ax"),
            ("/l/a?", "/l/a"),
        ] {
            assert!(!overlap(a, b) && !overlap(b, a), "{a} {b}");
        }
    }

    proptest! {
        /// The other judge: a text that two regular patterns match, if there is a short one.
        #[test]
        fn a_text_that_both_match_is_an_overlap(a in "[ab*?]{0,5}", b in "[ab*?]{0,5}") {
            let found = texts(4).into_iter().any(|text| {
                [&a, &b].iter().all(|pattern| globset::Glob::new(pattern).unwrap().compile_matcher().is_match(&text))
            });
            // Whatever matches both can be made of as many characters as both patterns have.
            if found || a.len() + b.len() <= 4 {
                prop_assert_eq!(overlap(&a, &b), found, "{} {}", a, b);
            }
        }
    }

    fn texts(longest: u32) -> Vec<String> {
        let mut all = vec![String::new()];
        for length in 1..=longest {
            all.extend((0..2_u32.pow(length)).map(|bits| {
                (0..length)
                    .map(|at| if bits >> at & 1 == 1 { 'a' } else { 'b' })
                    .collect::<String>()
            }));
        }
        all
    }
}

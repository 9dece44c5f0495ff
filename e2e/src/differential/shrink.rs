//! Makes a list that shows a difference short: leaves out parts, ever smaller ones, as long as the difference stays.
//!
//! It deliberately changes no request, it only leaves some out.

/// The shortest list found with which `shows` is true, after `tries` tries at most. The list itself must show it.
pub async fn shortest<T: Clone>(
    all: Vec<T>,
    mut tries: usize,
    mut shows: impl AsyncFnMut(&[T]) -> bool,
) -> Vec<T> {
    let mut kept = all;
    let mut size = kept.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < kept.len() && tries > 0 {
            let mut without = kept.clone();
            without.drain(at..(at + size).min(kept.len()));
            tries -= 1;
            if shows(&without).await {
                kept = without;
            } else {
                at += size;
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_is_needed_is_kept() {
        let all: Vec<u32> = (0..100).collect();
        let shows = async |it: &[u32]| it.contains(&17) && it.contains(&63);
        assert_eq!(shortest(all, 1000, shows).await, [17, 63]);
    }
}

//! What command lines have in common.

/// Reads a whole number from `least` to `most`, for clap.
///
/// ```
/// let parse = rootstep_demos::arguments::whole::<u32>(1, 9);
/// assert_eq!(parse("7"), Ok(7));
/// assert_eq!(parse("7.5"), Err("allowed: a whole number from 1 to 9".to_owned()));
/// ```
pub fn whole<T: TryFrom<u64>>(
    least: u64,
    most: u64,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| format!("allowed: a whole number from {least} to {most}"))
    }
}

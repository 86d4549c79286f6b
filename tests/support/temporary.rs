//! Files that the tests write.

use std::path::PathBuf;

/// A file in the temporary folder, gone in the end.
pub struct Temporary(pub PathBuf);

impl Temporary {
    /// The place of a file that is not there yet. The name must differ between tests.
    pub fn new(name: &str) -> Self {
        let file = std::env::temp_dir().join(format!("rootstep-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&file);
        Self(file)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

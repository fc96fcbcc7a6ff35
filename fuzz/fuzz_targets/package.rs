//! Any bytes as a bundle in a .tar.gz: refused, or a bundle whose every file is the one its manifest names.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ombud_engine::{Bundle, Model, Trust};
use std::io::Write;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut file) = tempfile::NamedTempFile::new() else {
        return;
    };
    if file.write_all(bytes).is_err() {
        return;
    }
    if let Ok(bundle) = Bundle::open(file.path(), &Trust::default()) {
        let _ = Model::from_bundle(bundle);
    }
});

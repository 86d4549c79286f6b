//! No table makes the reader of the example iris panic; what it takes is rectangular and finite, has
//! two classes or more in the order in which they are seen, and is read again as it is when written.

#![no_main]

use rootstep_fuzz::iris::{Data, read};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // A table; with a zero byte, the name of the column of labels before it.
    let zero = data.iter().position(|&byte| byte == 0);
    let (label, text) =
        zero.map_or((None, data), |at| (std::str::from_utf8(&data[..at]).ok(), &data[at + 1..]));
    let Ok(data) = read(text, "table", label, b',') else {
        return;
    };
    check(&data);
    let written = written(&data);
    let again = read(&written, "table", None, b',').expect("what was taken is valid");
    check(&again);
    assert_eq!(again.features, data.features);
    assert_eq!((again.classes, again.class_names), (data.classes, data.class_names));
});

fn check(data: &Data) {
    let width = data.width();
    assert!(width >= 1);
    assert!(data.features.iter().all(|row| row.len() == width), "the rows differ in length");
    assert!(data.features.iter().flatten().all(|value| value.is_finite()));
    assert_eq!(data.classes.len(), data.features.len());
    assert!(data.class_names.len() >= 2);
    let mut seen = 0;
    for &class in &data.classes {
        assert!(class <= seen, "a class before the ones that are seen first");
        seen = seen.max(class + 1);
    }
    assert_eq!(seen, data.class_names.len());
    let mut names = data.class_names.clone();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), data.class_names.len(), "two classes of one name");
    assert!(names.iter().all(|name| !name.is_empty() && name.trim() == name));
}

/// The table, with the labels in the last column.
fn written(data: &Data) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = (0..data.width()).map(|i| format!("x{i}")).chain(["label".to_owned()]);
    writer.write_record(header).expect("memory");
    for (features, &class) in data.features.iter().zip(&data.classes) {
        let label = data.class_names[class].clone();
        let cells = features.iter().map(f64::to_string).chain([label]);
        writer.write_record(cells).expect("memory");
    }
    writer.into_inner().expect("memory")
}

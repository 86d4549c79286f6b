//! Imports go one way, downwards: no module of the library uses one that stands above it, so that each can be
//! read, and changed, with only those below it in mind. Tests may use all.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules from the bottom to the top. Each may import those before it.
const ORDER: [&str; 21] = [
    "error",
    "float",
    "exact",
    "inspection",
    "draws",
    "sum_order",
    "step",
    "rows",
    "setting",
    "simd",
    "format",
    "level",
    "kernels",
    "parallel",
    "executor",
    "element",
    "reference",
    "sums",
    "slices",
    "optimizer",
    "lib",
];

fn rank(module: &str) -> Option<usize> {
    ORDER.iter().position(|&name| name == module)
}

/// The files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// What a file says to the compiler: neither comments nor its unit tests, which stand at its end.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    code.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The first names behind each `crate::`, those of a group in braces included.
fn imported(code: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut names = Vec::new();
    for (at, path) in code.match_indices("crate::") {
        let rest = &code[at + path.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.push(name(rest));
            continue;
        };
        let (mut depth, mut start) = (1, 0);
        for (i, character) in group.char_indices() {
            depth += i32::from(character == '{') - i32::from(character == '}');
            if depth == 0 || depth == 1 && character == ',' {
                names.push(name(&group[start..i]));
                start = i + 1;
            }
            if depth == 0 {
                break;
            }
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// The imports of a file that go upwards, or through the root, where all modules meet.
fn wrong_imports(module: &str, text: &str) -> Vec<String> {
    let own = rank(module).unwrap_or_else(|| panic!("the module {module} is not in the order"));
    let upwards = |name: &String| rank(name).is_none_or(|other| other > own);
    imported(&code(text)).into_iter().filter(upwards).collect()
}

#[test]
fn imports_go_downwards() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = files(&source);
    let mut imports = 0;
    for file in &files {
        let within = file.strip_prefix(&source).unwrap().with_extension("");
        let module = within.iter().next().unwrap().to_str().unwrap();
        let text = fs::read_to_string(file).unwrap();
        imports += imported(&code(&text)).len();
        let wrong = wrong_imports(module, &text);
        // `super` of a file at the top, or of a folder's own file, is the root.
        let is_own_file = within == Path::new(module) || within.ends_with("mod");
        let by_super = is_own_file && code(&text).contains("super::");
        let by_super = by_super || code(&text).contains("super::super::");
        assert!(!by_super, "{}: imports from the root by `super`", file.display());
        assert!(wrong.is_empty() || module == "lib", "{}: imports {wrong:?}", file.display());
    }
    assert!(files.len() > 25 && imports > 60, "{} files, {imports} imports", files.len());
}

/// The check sees what it is there for.
#[test]
fn imports_upwards_are_seen() {
    for (text, wrong) in [
        ("use crate::executor::Executor;", vec!["executor"]),
        ("use crate::{float::Float, optimizer::{Rule, Step}, step::Step};", vec!["optimizer"]),
        ("fn f() -> crate::slices::Pairs {}", vec!["slices"]),
        ("use crate::Element;", vec!["Element"]),
        ("pub(crate) use crate::{\n    float::Float,\n    Executor,\n};", vec!["Executor"]),
        ("use crate::simd::Simd; // crate::executor", vec![]),
        ("/// [`crate::optimizer`]\nuse crate::level::Level;", vec![]),
        ("#[cfg(test)]\nmod tests {\n    use crate::optimizer::Rule;\n}", vec![]),
        ("use super::update::Update;", vec![]),
    ] {
        assert_eq!(wrong_imports("kernels", text), wrong, "{text}");
    }
}

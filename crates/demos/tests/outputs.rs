//! The files that the programs write, and what is left where something fails: nothing eats its input, nothing is
//! half written, and what one output cannot take the others have.

#![cfg(unix)]

#[path = "../../../tests/support/process.rs"]
mod process;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// `iris` with few fits, in `folder`.
fn iris(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = process::command(env!("CARGO_BIN_EXE_iris").as_ref());
    command.current_dir(folder).env_remove("ROOTSTEP_LEVEL").args(["--grid", "0.1:1:2"]);
    command.args(arguments);
    command
}

fn run(folder: &TempDir, arguments: &[&str]) -> Output {
    iris(folder.path(), arguments).output().unwrap()
}

fn errors(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

fn text(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

/// What it prints when all goes well.
fn whole_text() -> String {
    let output = run(&tempfile::tempdir().unwrap(), &[]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert!(text(&output).contains("| virginica "), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn names(folder: &TempDir) -> Vec<String> {
    let name =
        |file: std::io::Result<fs::DirEntry>| file.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = folder.path().read_dir().unwrap().map(name).collect();
    names.sort();
    names
}

/// That it is the table of two candidates.
fn assert_is_table(csv: &str) {
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!(rows.len(), 3, "{csv}");
    assert!(rows[0].starts_with("iter,n_resources,mean_fit_time,"), "{csv}");
    assert!(
        rows[1].contains(",learning_rate=0.1,") && rows[2].contains(",learning_rate=1,"),
        "{csv}"
    );
}

/// By whatever name: nothing is written then.
#[test]
fn no_output_eats_the_input() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let table = "a,kind\n".to_owned() + &"1,x\n2,y\n".repeat(10);
    fs::write(at("data.csv"), &table).unwrap();
    fs::hard_link(at("data.csv"), at("hard.csv")).unwrap();
    symlink("data.csv", at("soft.csv")).unwrap();
    symlink("soft.csv", at("softer.csv")).unwrap();
    symlink(".", at("here")).unwrap();
    let before = names(&folder);
    let absolute = at("data.csv").to_str().unwrap().to_owned();
    for name in
        ["data.csv", "./data.csv", "hard.csv", "soft.csv", "softer.csv", "here/data.csv", &absolute]
    {
        for (data, csv) in [("data.csv", name), (name, "data.csv")] {
            let output = run(&folder, &["--data", data, "--csv", csv]);
            let expected = format!(
                "error: --csv {csv} and --data {data} are the same file; allowed: different ones\n"
            );
            assert_eq!(errors(&output), expected);
            assert_eq!(output.status.code(), Some(2));
            assert_eq!(fs::read_to_string(at("data.csv")).unwrap(), table);
        }
    }
    assert_eq!(names(&folder), before);
}

/// Two names of a file that is not there yet are one file, too.
#[cfg(feature = "journal")]
#[test]
fn no_two_outputs_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    symlink("new", folder.path().join("dangling")).unwrap();
    symlink(".", folder.path().join("here")).unwrap();
    for (journal, csv) in [
        ("new", "new"),
        ("new", "./new"),
        ("here/new", "new"),
        ("new", "dangling"),
        ("dangling", "here/new"),
        ("dangling", "dangling"),
    ] {
        let output = run(&folder, &["--resume", journal, "--csv", csv]);
        let expected = format!(
            "error: --csv {csv} and --resume {journal} are the same file; allowed: different ones\n"
        );
        assert_eq!((errors(&output), output.status.code()), (expected.as_str(), Some(2)));
    }
    assert_eq!(names(&folder), ["dangling", "here"]);
    // Those of halving have the steps of their rounds in their names.
    for round in ["37", "74", "148", "296"] {
        let csv = format!("new.{round}");
        let output = run(&folder, &["--search", "halving", "--resume", "new", "--csv", &csv]);
        let expected = format!(
            "error: --csv {csv} and --resume {csv} are the same file; allowed: different ones\n"
        );
        assert_eq!((errors(&output), output.status.code()), (expected.as_str(), Some(2)));
    }
    let output = run(&folder, &["--search", "halving", "--resume", "new", "--csv", "new"]);
    assert_eq!((errors(&output), output.status.code()), ("", Some(0)));
    assert_eq!(names(&folder), ["dangling", "here", "new", "new.37", "new.74"]);
}

#[test]
fn files_are_replaced_and_keep_what_is_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("other")).unwrap();
    fs::write(at("other/old"), "old").unwrap();
    fs::set_permissions(at("other/old"), Permissions::from_mode(0o604)).unwrap();
    fs::hard_link(at("other/old"), at("hard")).unwrap();
    symlink("other/old", at("soft")).unwrap();
    symlink("other/new", at("dangling")).unwrap();
    for name in ["soft", "dangling", "plain"] {
        let output = run(&folder, &["--csv", name]);
        assert_eq!((errors(&output), output.status.code()), ("", Some(0)), "{name}");
        assert_is_table(&fs::read_to_string(at(name)).unwrap());
    }
    // Links lead where they led; another name of the old file has the old content.
    assert_eq!(fs::read_link(at("soft")).unwrap(), Path::new("other/old"));
    assert_eq!(fs::read_link(at("dangling")).unwrap(), Path::new("other/new"));
    assert_eq!(fs::read_to_string(at("hard")).unwrap(), "old");
    // Permissions are those of before, or those of any new file.
    let mode = |name: &str| fs::metadata(at(name)).unwrap().mode() & 0o7777;
    File::create(at("any")).unwrap();
    assert_eq!(mode("other/old"), 0o604);
    assert_eq!((mode("plain"), mode("other/new")), (mode("any"), mode("any")));
    // Nothing else is left.
    assert_eq!(names(&folder), ["any", "dangling", "hard", "other", "plain", "soft"]);
    assert_eq!(at("other").read_dir().unwrap().count(), 2);
}

/// The text is printed and the other files are written; the code says that something failed.
#[cfg(target_os = "linux")]
#[test]
fn what_fails_keeps_nothing_back() {
    let folder = tempfile::tempdir().unwrap();
    let full = "No space left on device (os error 28)";
    let output = run(&folder, &["--csv", "/dev/full"]);
    assert_eq!(errors(&output), format!("error: cannot write /dev/full (--csv): {full}\n"));
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output), whole_text());

    // The output itself.
    let full_disk = File::options().write(true).open("/dev/full").unwrap();
    let output = iris(folder.path(), &["--csv", "table"]).stdout(full_disk).output().unwrap();
    assert_eq!(errors(&output), format!("error: cannot print: {full}\n"));
    assert_eq!(output.status.code(), Some(2));
    assert_is_table(&fs::read_to_string(folder.path().join("table")).unwrap());

    #[cfg(feature = "plot")]
    {
        symlink("/dev/full", folder.path().join("full.svg")).unwrap();
        let output = run(&folder, &["--plot", "full.svg", "--csv", "other"]);
        assert_eq!(errors(&output), format!("error: cannot write full.svg (--plot): {full}\n"));
        assert_eq!((text(&output), output.status.code()), (whole_text().as_str(), Some(2)));
        assert_is_table(&fs::read_to_string(folder.path().join("other")).unwrap());
        let output = run(&folder, &["--csv", "/dev/full", "--plot", "there.svg"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(fs::read_to_string(folder.path().join("there.svg")).unwrap().contains("</svg>"));
    }
}

/// The old file is there as it was, and no part of the new one. (A limit of the size of files stands for a full
/// disk.)
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_cannot_be_written_is_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("old"), "old").unwrap();
    let output = limited(&iris(folder.path(), &["--csv", "old"]), 0).output().unwrap();
    assert_eq!(errors(&output), "error: cannot write old (--csv): File too large (os error 27)\n");
    assert_eq!((text(&output), output.status.code()), (whole_text().as_str(), Some(2)));
    assert_eq!(fs::read_to_string(folder.path().join("old")).unwrap(), "old");
    assert_eq!(names(&folder), ["old"]);
}

/// `command`, with no file larger than so many blocks.
#[cfg(target_os = "linux")]
fn limited(command: &Command, blocks: u32) -> Command {
    let mut limited = Command::new("sh");
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    limited.args(["-c", &script, "sh"]).arg(command.get_program()).args(command.get_args());
    limited.current_dir(command.get_current_dir().unwrap());
    limited
}

/// The fits that it has are not done again, and the message says so.
#[cfg(all(target_os = "linux", feature = "journal"))]
#[test]
fn a_journal_that_cannot_be_written_is_of_use() {
    let folder = tempfile::tempdir().unwrap();
    let command = || iris(folder.path(), &["--resume", "journal"]);
    let output = limited(&command(), 2).output().unwrap();
    let expected = "error: the journal journal cannot be used: File too large (os error 27); the fits \
                    before are in it, and the next run goes on from them\n";
    assert_eq!((errors(&output), output.status.code()), (expected, Some(2)));
    let before = fs::read_to_string(folder.path().join("journal")).unwrap();
    assert!((2..11).contains(&before.lines().count()) && before.ends_with('\n'), "{before}");
    let output = command().output().unwrap();
    assert_eq!((errors(&output), text(&output)), ("", whole_text().as_str()));
    assert!(fs::read_to_string(folder.path().join("journal")).unwrap().starts_with(&before));
}

/// To a pipe, and to the file that the text goes to: nothing is lost.
#[cfg(target_os = "linux")]
#[test]
fn devices_and_pipes_are_written_directly() {
    let folder = tempfile::tempdir().unwrap();
    let whole = whole_text();
    let (start, end) = whole.split_once("Learning rate: ").unwrap();
    let assert_has_both = |found: &str| {
        let table = found.strip_prefix(start).and_then(|rest| rest.split_once("Learning rate: "));
        let (table, rest) = table.unwrap_or_else(|| panic!("{found}"));
        assert_is_table(table);
        assert_eq!(rest, end);
    };
    let output = run(&folder, &["--csv", "/dev/stdout"]);
    assert_eq!((errors(&output), output.status.code()), ("", Some(0)));
    assert_has_both(text(&output));

    for csv in ["/dev/stdout", "both"] {
        let both = folder.path().join("both");
        let mut command = iris(folder.path(), &["--csv", csv]);
        let output = command.stdout(File::create(&both).unwrap()).output().unwrap();
        assert_eq!((errors(&output), output.status.code()), ("", Some(0)));
        assert_has_both(&fs::read_to_string(both).unwrap());
    }

    let both = folder.path().join("both");
    let rows = "1,7,x\n2,7,y\n".repeat(10);
    fs::write(folder.path().join("data"), format!("a,same,kind\n{rows}")).unwrap();
    let mut command = iris(folder.path(), &["--data", "data", "--csv", "both"]);
    let output = command.stderr(File::create(&both).unwrap()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let found = fs::read_to_string(both).unwrap();
    let warning = "warning: data: the same number is in every row of `same`\n";
    assert_is_table(found.strip_prefix(warning).unwrap_or_else(|| panic!("{found}")));

    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let child = iris(folder.path(), &["--csv", "fifo"]).stdout(Stdio::piped()).spawn().unwrap();
    assert_is_table(&fs::read_to_string(&fifo).unwrap());
    assert_eq!(text(&child.wait_with_output().unwrap()), whole);
    let output = run(&folder, &["--csv", "/dev/null"]);
    assert_eq!((text(&output), output.status.code()), (whole.as_str(), Some(0)));
}

/// A reader that has seen enough is no failure, and keeps back no file.
#[test]
fn the_reader_may_go() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = iris(folder.path(), &["--csv", "table"]).stdout(writer).output().unwrap();
    assert_eq!((errors(&output), output.status.code()), ("", Some(0)));
    assert_is_table(&fs::read_to_string(folder.path().join("table")).unwrap());
    for (program, arguments) in [
        (option_env!("CARGO_BIN_EXE_schedules"), &["x.svg"][..]),
        (option_env!("CARGO_BIN_EXE_digits"), &["--range-test", "x.png"]),
    ] {
        let Some(program) = program else { continue };
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = process::command(program.as_ref());
        let output =
            command.current_dir(folder.path()).args(arguments).stdout(writer).output().unwrap();
        assert_eq!((errors(&output), output.status.code()), ("", Some(0)), "{program}");
        assert!(folder.path().join(arguments[arguments.len() - 1]).exists());
    }
}

/// The learning rates that diverged are named. If all did, there is the table, and no answer.
#[test]
fn what_diverged_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let run = |grid: &str| {
        let mut command = process::command(env!("CARGO_BIN_EXE_iris").as_ref());
        let output = command.current_dir(folder.path()).env_remove("ROOTSTEP_LEVEL");
        output.args(["--grid", grid, "--csv", "table"]).output().unwrap()
    };
    let output = run("1:1.79e308:2");
    assert_eq!(errors(&output), "warning: the training diverged at learning rate 1.79e308\n");
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output).contains("\nLearning rate: 1 "), "{output:?}");

    let diverged = |output: &Output| -> Vec<String> {
        let rows = text(output).lines().filter(|line| line.contains("NaN"));
        rows.map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
    };
    let output = run("1e307:1.79e308:24");
    let rates = diverged(&output);
    assert!(rates.len() > 10, "{output:?}");
    let (named, more) = (rates[..10].join(", "), rates.len() - 10);
    let expected =
        format!("warning: the training diverged at learning rates {named} and {more} more\n");
    assert_eq!((errors(&output), output.status.code()), (expected.as_str(), Some(0)));

    let output = run("1.7e308:1.79e308:3");
    assert_eq!(errors(&output), "error: the training diverged at every learning rate of --grid\n");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(diverged(&output), ["1.7e308", "1.744e308", "1.79e308"]);
    let table = fs::read_to_string(folder.path().join("table")).unwrap();
    assert_eq!(table.lines().filter(|line| line.contains(",NaN,")).count(), 3);
}

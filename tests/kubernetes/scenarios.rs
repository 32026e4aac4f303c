//! The gateway's reaction to events of a Kubernetes API: the scenarios of
//! `tests/kubernetes/scenarios/`, with a real gateway, real connections and a stand-in for the API.

use std::path::PathBuf;

use crate::kubernetes::scenario;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/kubernetes/scenarios")
}

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                scenario::play(&folder().join(concat!(stringify!($name), ".yaml")));
            }
        )*

        #[test]
        fn every_file_is_played() {
            let mut files: Vec<String> = std::fs::read_dir(folder())
                .unwrap()
                .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
                .collect();
            files.sort_unstable();
            let mut played = vec![$(stringify!($name)),*];
            played.sort_unstable();
            assert_eq!(files, played);
        }
    };
}

scenarios! {
    a_busy_api
    api_goes_and_comes
    a_definition_is_installed_later
    a_dry_run
    first_lists
    history_is_forgotten
    its_own_service
    objects_that_cannot_be_read
    one_kind_is_forbidden
    pods_come_and_go
    policy_changes
    settings_of_the_mesh
    streams_are_cut
}

//! Where settings come from, and which of them counts.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_beats_a_variable_beats_dot_env_beats_the_file() {
    let place = Place::new();
    let config = ["--config", "settings.toml"];
    let variable = [("MERCURIO_JWT_ISSUER", "variable")];
    let flag = [&config[..], &["--jwt-issuer", "flag"]].concat();
    assert_eq!(issuer(&place, &[], &[]).await, Value::Null);
    place.write("settings.toml", "jwt-issuer = \"file\"\n");
    // The file is read where it is named, and nowhere else.
    assert_eq!(issuer(&place, &[], &[]).await, Value::Null);
    assert_eq!(issuer(&place, &[], &config).await, "file");
    place.write(".env", "MERCURIO_JWT_ISSUER=dot-env\n");
    assert_eq!(issuer(&place, &[], &config).await, "dot-env");
    assert_eq!(issuer(&place, &variable, &config).await, "variable");
    assert_eq!(issuer(&place, &variable, &flag).await, "flag");
    // A layer that is left out is passed through.
    assert_eq!(issuer(&place, &[], &flag).await, "flag");
    fs::remove_file(place.path().join(".env")).unwrap();
    assert_eq!(issuer(&place, &variable, &config).await, "variable");
    // The file itself is named in any layer above it.
    let named = [("MERCURIO_CONFIG", "settings.toml")];
    assert_eq!(issuer(&place, &named, &[]).await, "file");
    place.write(".env", "MERCURIO_CONFIG=settings.toml\n");
    assert_eq!(issuer(&place, &[], &[]).await, "file");
    place.write("other.toml", "jwt-issuer = \"other\"\n");
    assert_eq!(
        issuer(&place, &[], &["--config", "other.toml"]).await,
        "other"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_layer_beats_the_default() {
    let place = Place::new();
    let user = async |variables: &[(&str, &str)], args: &[&str]| {
        let all = [&["token", "--sub", "alice", "--jwt-secret", KEY], args].concat();
        let token = place.run_with(variables, &all).await.code(0).out;
        let claims = claims(&token, KEY.as_bytes());
        let claims = claims.as_object().unwrap();
        let found = claims.iter().find(|(_, value)| *value == "alice");
        found.expect("the user").0.clone()
    };
    assert_eq!(user(&[], &[]).await, "sub");
    assert_eq!(user(&[], &["--jwt-user-claim", "flag"]).await, "flag");
    assert_eq!(
        user(&[("MERCURIO_JWT_USER_CLAIM", "variable")], &[]).await,
        "variable"
    );
    place.write("settings.toml", "jwt-user-claim = \"file\"\n");
    assert_eq!(user(&[], &["--config", "settings.toml"]).await, "file");
    place.write(".env", "MERCURIO_JWT_USER_CLAIM=dot-env\n");
    assert_eq!(user(&[], &[]).await, "dot-env");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_values_in_each_layer() {
    let publishers = async |setup: Setup, expected: &[&str]| {
        let core = setup.start().await;
        for user in ["alice", "bob", "carol", "666"] {
            let api = core.api(&core.secret().user(user));
            let published = api.try_publish(to(&["x"], "t", "x")).await.is_ok();
            assert_eq!(published, expected.contains(&user), "{user}");
        }
    };
    let flags = ["--publisher", "alice", "--publisher", "bob"];
    publishers(Setup::core().args(flags), &["alice", "bob"]).await;
    let variable = Setup::core().env("MERCURIO_PUBLISHER", "bob, carol");
    publishers(variable, &["bob", "carol"]).await;
    // In the file also as the number it is. One layer replaces what is below it.
    let in_file = Setup::core();
    let path = in_file.home().join("settings.toml");
    fs::write(&path, "publisher = [\"alice\", 666]\n").unwrap();
    let in_file = in_file.args(["--config", path.to_str().unwrap()]);
    publishers(in_file.clone(), &["alice", "666"]).await;
    publishers(in_file.args(["--publisher", "bob"]), &["bob"]).await;
}

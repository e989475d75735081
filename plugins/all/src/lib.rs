//! Every kind of destination that this build has: one line a kind, behind the feature of its name.

use std::sync::Arc;
use switchyard_api::AnyKind;

/// All kinds, sorted by name.
#[allow(clippy::vec_init_then_push)] // a line a kind, each behind its feature
pub fn kinds() -> Vec<Arc<dyn AnyKind>> {
    let mut all: Vec<Arc<dyn AnyKind>> = vec![];
    #[cfg(feature = "console")]
    all.push(switchyard_api::kind::any(switchyard_console::Console));
    #[cfg(feature = "email")]
    all.push(switchyard_api::kind::any(switchyard_email::EmailKind));
    #[cfg(feature = "exec")]
    all.push(switchyard_api::kind::any(switchyard_exec::Exec));
    #[cfg(feature = "file")]
    all.push(switchyard_api::kind::any(switchyard_file::FileKind));
    #[cfg(feature = "kafka")]
    all.push(switchyard_api::kind::any(switchyard_kafka::Kafka));
    #[cfg(feature = "http")]
    all.extend(switchyard_http::kinds());
    #[cfg(feature = "objects")]
    all.extend(switchyard_objects::kinds());
    #[cfg(feature = "sql")]
    all.push(switchyard_api::kind::any(switchyard_sql::Sql));
    #[cfg(feature = "redis")]
    all.push(switchyard_api::kind::any(switchyard_redis::Redis));
    #[cfg(feature = "nats")]
    all.push(switchyard_api::kind::any(switchyard_nats::Nats));
    #[cfg(feature = "amqp")]
    all.push(switchyard_api::kind::any(switchyard_amqp::Amqp));
    #[cfg(feature = "mqtt")]
    all.push(switchyard_api::kind::any(switchyard_mqtt::Mqtt));
    #[cfg(feature = "syslog")]
    all.push(switchyard_api::kind::any(switchyard_syslog::Syslog));
    all.sort_by(|a, b| a.name().cmp(b.name()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_of_the_folder_is_listed() {
        let names: Vec<String> = kinds().iter().map(|kind| kind.name().to_owned()).collect();
        assert!(names.is_sorted());
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).unwrap();
        let crates = folder.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
        // `template` is there to be copied, and no kind of the daemon's.
        for name in crates.filter(|name| !["all", "api", "template"].contains(&name.as_str())) {
            // One crate, several kinds: one of them stands for it.
            let kind = if name == "objects" { "s3".to_owned() } else { name.clone() };
            assert!(names.contains(&kind), "plugins/{name} is not listed: add it to plugins/all/src/lib.rs and its Cargo.toml");
        }
    }

    #[test]
    fn every_kind_tells_what_it_is_and_what_each_field_means() {
        for kind in kinds() {
            assert!(kind.docs().ends_with('.') && !kind.docs().contains('\n'), "{}", kind.name());
            for field in kind.fields() {
                assert!(field.docs.ends_with('.'), "{}: {}", kind.name(), field.name);
                assert!(!(field.required && field.default.is_some()), "{}: {}", kind.name(), field.name);
            }
        }
    }
}

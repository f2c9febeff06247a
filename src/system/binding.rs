//! The services that meet the requirements of applications.

use std::collections::BTreeMap;

use pkgapp_config::{
    Located, PartName, RequiredService, RequirementType, ServiceKind, SystemApplication, suggested,
};
use pkgapp_core::error::Error;
use pkgapp_core::name::AppName;
use pkgapp_core::text::backticked;

use crate::lock::EnvironmentLock;
use crate::resolve::ResolutionInput;
use crate::resolved::{Provider, ResolvedBinding, ResolvedPart, ResolvedService};

/// A service that meets requirements of a type.
#[derive(Debug, Clone)]
struct Candidate {
    /// The name that `bind` uses: of a backing service, or of an application.
    name: String,
    provider: Provider,
}

/// Binds requirements to services.
pub(crate) struct Binder<'a> {
    pub(crate) input: &'a ResolutionInput<'a>,
    pub(crate) services: &'a [ResolvedService],
    pub(crate) parts: &'a [ResolvedPart],
    pub(crate) lock: &'a mut EnvironmentLock,
    pub(crate) mistakes: &'a mut Vec<Error>,
}

impl Binder<'_> {
    /// Binds the requirements of an application.
    pub(crate) fn bind(&mut self, application: &SystemApplication) -> Vec<ResolvedBinding> {
        let Some(declared) = self.input.applications.get(&application.name) else {
            return Vec::new();
        };
        let requires = &declared.config.requires;
        for (name, to) in &application.bind {
            if requires.iter().all(|required| required.name != *name) {
                let names = requires.iter().map(|required| required.name.as_str());
                let error = Error::new(format!("`{}` requires no `{name}`", application.name));
                let error = error.at(to.at.clone());
                self.mistakes
                    .push(error.hint(suggested(name.as_str(), names)));
            }
        }
        let bound = requires.iter().filter_map(|required| {
            let chosen = match self.choose(application, required) {
                Ok(chosen) => chosen?,
                Err(error) => {
                    self.mistakes.push(error);
                    return None;
                }
            };
            let key = format!("{}.{}", application.name, required.name);
            self.lock.bind.insert(key, chosen.name);
            Some(ResolvedBinding {
                application: application.name.clone(),
                requirement: required.name.clone(),
                provider: chosen.provider,
            })
        });
        bound.collect()
    }

    /// Returns the service that meets a requirement; `None` if it is optional and nothing does.
    fn choose(
        &self,
        application: &SystemApplication,
        required: &RequiredService,
    ) -> Result<Option<Candidate>, Error> {
        let mut candidates = self.candidates(&required.required_type);
        if let Some(wanted) = application.bind.get(&required.name) {
            let found = candidates
                .iter()
                .find(|known| known.name == wanted.value.as_str());
            return match found {
                Some(found) => Ok(Some(found.clone())),
                None => Err(unsuitable(application, required, wanted, &candidates)),
            };
        }
        match candidates.len() {
            0 if required.optional || self.is_misplaced(&required.required_type) => Ok(None),
            0 => Err(unmet(application, required)),
            1 => Ok(candidates.pop()),
            _ => Err(self.ambiguous(application, required, &candidates)),
        }
    }

    /// Returns whether the model has a service of the type whose placement is a mistake already.
    fn is_misplaced(&self, wanted: &RequirementType) -> bool {
        let kind = kind_of(wanted);
        let mut services = self.input.model.services.iter();
        services.any(|service| Some(service.kind) == kind)
    }

    /// Returns the services of a type.
    fn candidates(&self, wanted: &RequirementType) -> Vec<Candidate> {
        if let RequirementType::Provided(name) = wanted {
            return self.provided(name);
        }
        let kind = kind_of(wanted);
        let services = self.services.iter().enumerate();
        let services = services.filter(|(_, service)| Some(service.kind) == kind);
        let candidates = services.map(|(number, service)| Candidate {
            name: service.name.to_string(),
            provider: Provider::Service(number),
        });
        candidates.collect()
    }

    /// Returns the parts of applications that provide a type.
    fn provided(&self, wanted: &PartName) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for (application, declared) in self.input.applications {
            let provides = declared.config.provides.iter();
            for provided in provides.filter(|provided| provided.provided_type == *wanted) {
                let mut parts = self.parts.iter();
                let number = parts.position(|part| {
                    part.application == *application && part.name == provided.service.value
                });
                candidates.extend(number.map(|number| Candidate {
                    name: application.to_string(),
                    provider: Provider::Part(number),
                }));
            }
        }
        candidates
    }

    fn ambiguous(
        &self,
        application: &SystemApplication,
        required: &RequiredService,
        candidates: &[Candidate],
    ) -> Error {
        let (name, wanted) = (&required.name, required.required_type.name());
        let names = backticked(candidates.iter().map(|candidate| &candidate.name));
        let error = Error::new(format!(
            "`{}` requires a `{wanted}` (as `{name}`), and several services provide it: {names}",
            application.name
        ));
        let key = format!("{}.{name}", application.name);
        let locked = self.input.lock.bind.get(&key);
        let hint = match locked {
            Some(locked) => {
                format!("write `bind.{name} = \"{locked}\"` to keep the service of the lock")
            }
            None => format!("write `bind.{name} = \"{}\"`", candidates[0].name),
        };
        error.at(application.at.clone()).hint(hint)
    }
}

/// Returns the kind of the backing services that meet a requirement.
fn kind_of(wanted: &RequirementType) -> Option<ServiceKind> {
    match wanted {
        RequirementType::Postgresql => Some(ServiceKind::Postgresql),
        RequirementType::Redis => Some(ServiceKind::Redis),
        RequirementType::Provided(_) => None,
    }
}

fn unmet(application: &SystemApplication, required: &RequiredService) -> Error {
    let (name, wanted) = (&required.name, required.required_type.name());
    let error = Error::new(format!(
        "`{}` requires a `{wanted}` (as `{name}`), and no service provides it",
        application.name
    ));
    let hint = match &required.required_type {
        RequirementType::Provided(name) => {
            format!("add an application that declares `[provides.{name}]`")
        }
        _ => format!("add `[service.{name}]` with `kind = \"{wanted}\"`"),
    };
    error.at(application.at.clone()).hint(hint)
}

fn unsuitable(
    application: &SystemApplication,
    required: &RequiredService,
    wanted: &Located<PartName>,
    candidates: &[Candidate],
) -> Error {
    let required_type = required.required_type.name();
    let error = Error::new(format!(
        "`{}` provides no `{required_type}` for `{}`",
        wanted.value, application.name
    ));
    let names = candidates.iter().map(|candidate| candidate.name.as_str());
    error
        .at(wanted.at.clone())
        .hint(suggested(wanted.value.as_str(), names))
}

/// Refuses applications that require each other, as none of them could be installed first.
pub(crate) fn refuse_cycles(
    bindings: &[ResolvedBinding],
    parts: &[ResolvedPart],
    applications: &[SystemApplication],
    mistakes: &mut Vec<Error>,
) {
    let mut needs: BTreeMap<&AppName, Vec<&AppName>> = BTreeMap::new();
    for binding in bindings {
        if let Provider::Part(number) = binding.provider {
            let needed = &parts[number].application;
            needs.entry(&binding.application).or_default().push(needed);
        }
    }
    for application in applications {
        let mut path = vec![&application.name];
        // Of the applications of a circle, one reports it.
        if !leads_back(&needs, &mut path) || path.iter().min() != path.first() {
            continue;
        }
        path.push(&application.name);
        let names: Vec<String> = path.iter().map(|name| format!("`{name}`")).collect();
        let circle = names.join(" requires ");
        let error = Error::new(format!("applications require each other: {circle}"));
        mistakes.push(error.at(application.at.clone()));
    }
}

/// Extends a path until it would come back to its beginning; `false` if none does.
fn leads_back<'a>(
    needs: &BTreeMap<&'a AppName, Vec<&'a AppName>>,
    path: &mut Vec<&'a AppName>,
) -> bool {
    let (first, last) = (path[0], path[path.len() - 1]);
    for next in needs.get(last).into_iter().flatten() {
        if *next == first {
            return true;
        }
        if path.contains(next) {
            continue;
        }
        path.push(next);
        if leads_back(needs, path) {
            return true;
        }
        path.pop();
    }
    false
}

// Runs a declarative Jenkinsfile with Jenkins' order of things, and has its steps done by whoever started it:
//   groovy live.groovy Jenkinsfile '{"params": {"AS_OF": "2013-07-01"}, "env": {"BUILD_NUMBER": "7"}, "change": false}'
// One line of JSON goes out for each thing to do, and one comes back: {"value": …} or {"error": …, "kind": …}. The kinds
// are failed, aborted, lost (the pod is gone) and superseded. What Jenkins does and when: docs/jenkins.md and, for the
// order of `when`, `options` and `agent`, https://www.jenkins.io/doc/book/pipeline/syntax/.

import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import org.codehaus.groovy.control.CompilerConfiguration
import org.codehaus.groovy.runtime.InvokerHelper

/** What ends a step. */
class Trouble extends RuntimeException {
    static final RESULTS = [failed: 'FAILURE', aborted: 'ABORTED', lost: 'ABORTED', superseded: 'NOT_BUILT']
    final String kind

    Trouble(String kind, String message) {
        super(message)
        this.kind = kind
    }
}

/** The other end of the pipe, which does the steps. */
class Harness {
    static final INPUT = new BufferedReader(new InputStreamReader(System.in, 'UTF-8'))

    static ask(Map question) {
        println JsonOutput.toJson(question)
        System.out.flush()
        def answer = new JsonSlurper().parseText(INPUT.readLine())
        if (answer.error != null) throw new Trouble(answer.kind, answer.error)
        return answer.value
    }
}

/** A block of directives: what is said in it; the blocks inside have not run. */
class Said {
    static final WORDS = ['none', 'any']
    Map names
    List entries = []

    static List of(Closure body, Map names) {
        def block = new Said(names: names)
        body.delegate = block
        body.resolveStrategy = Closure.DELEGATE_ONLY
        body.call()
        return block.entries
    }

    def methodMissing(String name, arguments) {
        if (names[name] instanceof Closure) return names[name].call(*arguments)
        def args = arguments as List
        def body = args && args.last() instanceof Closure ? args.last() : null
        def entry = [name: name, args: body ? args.init() : args, body: body]
        entries << entry
        return entry
    }

    def propertyMissing(String name) {
        if (name in WORDS) return name
        if (names.containsKey(name)) return names[name]
        throw new MissingPropertyException(name, Said)
    }

    def propertyMissing(String name, value) {
        entries << [name: name, args: [value], body: null]
    }
}

/** Where steps run: pod, container, variables, and until when. */
class Place {
    String node, container
    Map env = [:]
    Long end

    Place but(Map changes) {
        def all = [node: node, container: container, env: env, end: end] + changes
        return new Place(all)
    }

    Long left() { end == null ? null : Math.max(0, end - System.currentTimeMillis()) }
}

/** The steps of a stage, done one after another. */
class Steps {
    Run run
    Place place

    def all(Closure body) {
        body.delegate = this
        body.resolveStrategy = Closure.DELEGATE_ONLY
        body.call()
    }

    def propertyMissing(String name) {
        if (name == 'scm') return 'scm'
        if (run.names.containsKey(name)) return run.names[name]
        throw new MissingPropertyException(name, Steps)
    }

    def script(Closure body) { all(body) }

    def echo(message) { Harness.ask(what: 'echo', text: message.toString()) }

    def error(message) { throw new Trouble('failed', message.toString()) }

    def milestone(int ordinal) { Harness.ask(what: 'milestone', ordinal: ordinal) }

    def checkout(what) {
        if (what != 'scm') error("checkout ${what}: only scm is known")
        inside(what: 'checkout')
    }

    def sh(command) { inside(what: 'sh', script: command.toString()) }

    def sh(Map given) { inside([what: 'sh'] + given) }

    def readFile(String file) { inside(what: 'readFile', file: file) }

    def writeFile(Map given) { inside([what: 'writeFile'] + given.collectEntries { [it.key, it.value.toString()] }) }

    def withEnv(List<String> given, Closure body) {
        def more = given.collectEntries { it.toString().split('=', 2) as List }
        new Steps(run: run, place: place.but(env: place.env + more)).all(body)
    }

    /** The block fails alone, and the build gets a result; what stops a build, or loses its pod, goes on. */
    def catchError(Map given, Closure body) {
        try {
            all(body)
        } catch (Trouble trouble) {
            if (trouble.kind != 'failed' && !given.catchInterruptions) throw trouble
            Harness.ask(what: 'echo', text: "ERROR: ${trouble.message}".toString())
            run.worse(given.buildResult)
        }
    }

    def input(Map given) { Harness.ask([what: 'input'] + given.collectEntries { [it.key, it.value.toString()] }) }

    def junit(Map given) {
        if (inside([what: 'junit'] + given)) run.worse('UNSTABLE')
    }

    def archiveArtifacts(Map given) { inside([what: 'archiveArtifacts'] + given) }

    def methodMissing(String name, arguments) {
        throw new Trouble('failed', "No such DSL method '${name}' found among steps, or not with ${arguments as List}")
    }

    private inside(Map question) {
        if (place.node == null) error("${question.what}: no agent: Required context class hudson.FilePath is missing")
        def env = run.names.env + place.env
        return Harness.ask(question + [node: place.node, container: place.container, env: env, left: place.left()])
    }
}

/** One build. */
class Run {
    static final ORDER = ['SUCCESS', 'UNSTABLE', 'FAILURE', 'NOT_BUILT', 'ABORTED']
    boolean change, first
    Map names
    String result = 'SUCCESS'
    String displayName, description

    String getCurrentResult() { result }

    void worse(String other) { if (ORDER.indexOf(other) > ORDER.indexOf(result)) result = other }

    void pipeline(Closure body) {
        def parts = directives(body)
        names.params = parameters(parts.parameters) + names.params
        if (!first) names.env += names.params.collectEntries { [it.key, altered(it.value.toString())] }
        def place = new Place(env: environment(parts.environment))
        try {
            options(parts.options, place) { inner -> agent(parts.agent, inner) { stages(parts.stages.body, it) } }
        } catch (Trouble trouble) {
            worse(Trouble.RESULTS[trouble.kind])
            Harness.ask(what: 'ended', text: trouble.message)
        }
        try {
            post(parts.post, place)
        } catch (Trouble trouble) {
            worse(Trouble.RESULTS[trouble.kind])
            Harness.ask(what: 'ended', text: trouble.message)
        }
    }

    Map directives(Closure body) {
        def said = Said.of(body, names)
        def twice = said*.name.countBy { it }.findAll { it.value > 1 && it.key != 'stage' }.keySet()
        if (twice) throw new Trouble('failed', "said twice: ${twice}")
        return said.collectEntries { [it.name, it] }
    }

    /** What Jenkins makes of a parameter for the environment: never to be relied on. */
    String altered(String value) {
        value.replaceAll(/\$(?:\$|(\w+)|\{(\w+)\})/) { all, bare, braced ->
            all == '$$' ? '$' : names.env[bare ?: braced] ?: all
        }
    }

    /** A parameter that was not given has its default. */
    Map parameters(entry) {
        if (entry == null) return [:]
        return Said.of(entry.body, names).collectEntries {
            def given = it.args[0]
            [given.name, given.containsKey('defaultValue') ? given.defaultValue : given.choices[0]]
        }
    }

    /** After a failure the stages that follow are skipped, and then the failure goes on. */
    def stages(Closure body, Place place) {
        Trouble first = null
        Said.of(body, names).each { entry ->
            if (first != null) {
                Harness.ask(what: 'skipped', stage: entry.args[0], why: 'earlier failure')
                return
            }
            try {
                stage(entry.args[0], directives(entry.body), place)
            } catch (Trouble trouble) {
                first = trouble
            }
        }
        if (first != null) throw first
    }

    /** Stages that Jenkins runs at the same time run one after another here; a failure stops none, and then goes on. */
    def parallel(Closure body, Place place) {
        Trouble first = null
        Said.of(body, names).each { entry ->
            try {
                stage(entry.args[0], directives(entry.body), place)
            } catch (Trouble trouble) {
                first = first ?: trouble
            }
        }
        if (first != null) throw first
    }

    def stage(String name, Map parts, Place place) {
        def conditions = parts.when ? Said.of(parts.when.body, names) : []
        def before = conditions.findAll { it.name in ['beforeOptions', 'beforeAgent'] && it.args[0] }*.name
        def runs = { conditions.findAll { !(it.name in ['beforeOptions', 'beforeAgent']) }.every { holds(it) } }
        def skip = { Harness.ask(what: 'skipped', stage: name, why: 'when') }
        if ('beforeOptions' in before && !runs()) return skip()
        options(parts.options, place) { optioned ->
            if ('beforeAgent' in before && !runs()) return skip()
            agent(parts.agent, optioned) { inside ->
                def ready = inside.but(env: inside.env + environment(parts.environment))
                if (!before && !runs()) return skip()
                Harness.ask(what: 'stage', stage: name)
                Trouble first = null
                try {
                    if (parts.parallel) parallel(parts.parallel.body, ready)
                    else if (parts.stages) stages(parts.stages.body, ready)
                    else steps(parts.steps.body, ready)
                } catch (Trouble trouble) {
                    first = trouble
                    // A lost pod may be replaced, so it is not yet a result.
                    if (trouble.kind != 'lost') worse(Trouble.RESULTS[trouble.kind])
                }
                try {
                    post(parts.post, ready)
                } catch (Trouble trouble) {
                    if (first == null && trouble.kind != 'lost') worse(Trouble.RESULTS[trouble.kind])
                    first = first ?: trouble
                }
                Harness.ask(what: 'left', stage: name, text: first?.message)
                if (first != null) throw first
            }
        }
    }

    boolean holds(entry) {
        switch (entry.name) {
            case 'expression': return evaluated(entry.body)
            case 'changeRequest': return change
            case 'branch': return names.env.BRANCH_NAME == entry.args[0]
            case 'not': return !holds(Said.of(entry.body, names)[0])
            case 'allOf': return Said.of(entry.body, names).every { holds(it) }
            case 'anyOf': return Said.of(entry.body, names).any { holds(it) }
        }
        throw new Trouble('failed', "when: ${entry.name} is not known")
    }

    boolean evaluated(Closure body) {
        body.delegate = new Steps(run: this, place: new Place())
        body.resolveStrategy = Closure.DELEGATE_ONLY
        return body.call() as boolean
    }

    Map environment(entry) {
        if (entry == null) return [:]
        def secret = { String id -> Harness.ask(what: 'credentials', id: id) }
        return Said.of(entry.body, names + [credentials: secret]).collectEntries { [it.name, it.args[0].toString()] }
    }

    def options(entry, Place place, Closure body) {
        def said = entry == null ? [] : Said.of(entry.body, names)
        def limits = said.findAll { it.name == 'timeout' }*.args*.first().collect { it.time * UNITS[it.unit] }
        def ends = [*limits.collect { System.currentTimeMillis() + it }, place.end].findAll { it != null }
        def locks = said.findAll { it.name == 'lock' }*.args*.first()*.resource*.toString()
        def held = []
        try {
            locks.each {
                Harness.ask(what: 'lock', resource: it)
                held << it
            }
            body(place.but(end: ends ? ends.min() : null))
        } finally {
            held.each { Harness.ask(what: 'unlock', resource: it) }
        }
    }

    static final UNITS = [SECONDS: 1000L, MINUTES: 60_000L, HOURS: 3_600_000L]

    /** With `retries` a pod that is lost is replaced, and everything in it runs again; an exit code is no such loss. */
    def agent(entry, Place place, Closure body) {
        if (entry == null || entry.args == ['none']) return body(place)
        def said = Said.of(entry.body, names)
        if (said*.name != ['kubernetes']) throw new Trouble('failed', "agent: only kubernetes is known")
        def pod = Said.of(said[0].body, names).collectEntries { [it.name, plain(it.args[0])] }
        int attempts = pod.retries ?: 1
        for (int attempt = 1; ; attempt++) {
            def node = Harness.ask([what: 'agent', left: place.left()] + pod)
            try {
                return body(place.but(node: node, container: pod.defaultContainer ?: 'jnlp'))
            } catch (Trouble trouble) {
                if (trouble.kind != 'lost' || attempt == attempts) throw trouble
                Harness.ask(what: 'echo', text: "Agent was lost (${trouble.message}): retrying")
            } finally {
                Harness.ask(what: 'release', node: node)
            }
        }
    }

    static plain(value) { value instanceof GString ? value.toString() : value }

    def steps(Closure body, Place place) { new Steps(run: this, place: place).all(body) }

    def post(entry, Place place) {
        if (entry == null) return
        def applies = [
            always: true, success: result == 'SUCCESS', failure: result == 'FAILURE', aborted: result == 'ABORTED',
            unstable: result == 'UNSTABLE', unsuccessful: result != 'SUCCESS', cleanup: true,
        ]
        Trouble first = null
        Said.of(entry.body, names).each {
            if (!applies.containsKey(it.name)) throw new Trouble('failed', "post: ${it.name} is not known")
            if (!applies[it.name]) return
            try {
                steps(it.body, place)
            } catch (Trouble trouble) {
                Harness.ask(what: 'echo', text: "Error when executing ${it.name} post condition: ${trouble.message}")
                first = first ?: trouble
            }
        }
        if (first != null) throw first
    }
}

/** The script itself: calls before the pipeline, of which only those that set properties are known, and `pipeline { … }`. */
abstract class Declarative extends Script {
    def pipeline(Closure body) { binding.getVariable('run').pipeline(body) }

    def disableConcurrentBuilds(Map given) { [disableConcurrentBuilds: given] }

    def properties(List given) { Harness.ask(what: 'properties', given: given) }
}

// Several builds run one after another, if `@FILE` names a file with a list of them, each of which names its Jenkinsfile.
def builds = new JsonSlurper().parseText(args[1].startsWith('@') ? new File(args[1].substring(1)).getText('UTF-8') : args[1])
def shell = new GroovyShell(this.class.classLoader, new CompilerConfiguration(scriptBaseClass: Declarative.name))
def compiled = [:].withDefault { String file -> shell.parse(new File(file).getText('UTF-8'), 'Jenkinsfile').class }
(builds instanceof List ? builds : [builds + [file: args[0]]]).each { given ->
    def run = new Run(change: given.change, first: given.first)
    run.names = [params: given.params, env: given.env, currentBuild: run]
    InvokerHelper.createScript(compiled[given.file], new Binding(run: run, env: run.names.env)).run()
    Harness.ask(what: 'result', text: run.result, name: run.displayName, description: run.description)
}

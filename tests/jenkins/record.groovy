// Runs a declarative Jenkinsfile as the Groovy script that it is and prints what it says, as JSON:
//   groovy record.groovy Jenkinsfile '{"params": {"AS_OF": "2013-07-01"}, "env": {"CHANGE_ID": "12"}}'
// Every call becomes {name, args, interpolated, body}. Blocks run in the order of the file, as the stages of a sequential
// pipeline do, so a variable that a stage sets has its value in the blocks after it. `readFile` answers with the
// path in brackets, and `sh` that returns something with its line, which shows where a text ends up. An `expression` has its value. `crowded` lists the lines on which two statements of one block begin.

import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import org.codehaus.groovy.ast.CodeVisitorSupport
import org.codehaus.groovy.ast.builder.AstBuilder
import org.codehaus.groovy.ast.stmt.BlockStatement
import org.codehaus.groovy.control.CompilePhase
import org.codehaus.groovy.control.CompilerConfiguration

/** One block: records calls and assignments in it, and runs the blocks inside. */
class Block {
    static final WORDS = ['none', 'any', 'scm']
    List calls = []
    Map globals

    def methodMissing(String name, arguments) {
        def call = [name: name, args: [], interpolated: false, body: null]
        arguments.each { argument ->
            if (argument instanceof Closure) {
                def inner = new Block(globals: globals)
                argument.delegate = inner
                argument.resolveStrategy = Closure.DELEGATE_ONLY
                def value = argument.call()
                call.body = inner.calls
                if (name == 'expression') call.value = value as boolean
            } else {
                call.interpolated |= interpolated(argument)
                call.args << plain(argument)
            }
        }
        calls << call
        if (name == 'sh' && call.args[0] instanceof Map) return "<${call.args[0].script}>".toString()
        return name in ['readFile', 'input', 'credentials'] ? "<${name == 'input' ? name : call.args[0]}>".toString() : null
    }

    def propertyMissing(String name) {
        if (name in WORDS) return name
        if (globals.containsKey(name)) return globals[name]
        throw new MissingPropertyException(name, Block)
    }

    def propertyMissing(String name, value) {
        calls << [name: name, args: [plain(value)], interpolated: interpolated(value), body: null]
    }

    static interpolated(value) {
        value instanceof Map ? value.values().any { it instanceof GString } : value instanceof GString
    }

    static plain(value) {
        if (value instanceof Map) return value.collectEntries { key, entry -> [key, plain(entry)] }
        if (value instanceof List) return value.collect { plain(it) }
        return value instanceof GString ? value.toString() : value
    }
}

/** The script itself, whose only call is `pipeline { … }`. */
abstract class Recorded extends Script {
    def methodMissing(String name, arguments) {
        binding.getVariable('recorder').methodMissing(name, arguments)
    }
}

class Lines extends CodeVisitorSupport {
    Set crowded = [] as TreeSet

    void visitBlockStatement(BlockStatement block) {
        block.statements*.lineNumber.countBy { it }.each { line, count -> if (count > 1) crowded << line }
        super.visitBlockStatement(block)
    }
}

def source = new File(args[0]).getText('UTF-8')
def given = new JsonSlurper().parseText(args[1])
def env = [JOB_NAME: 'demo', BUILD_NUMBER: '7', BUILD_URL: 'https://jenkins.example.com/job/demo/7/'] + (given.env ?: [:])
def recorder = new Block(globals: [params: given.params, env: env, currentBuild: [currentResult: 'SUCCESS']])
def configuration = new CompilerConfiguration(scriptBaseClass: Recorded.name)
new GroovyShell(this.class.classLoader, new Binding(recorder: recorder, env: env), configuration).evaluate(source, 'Jenkinsfile')

def lines = new Lines()
new AstBuilder().buildFromString(CompilePhase.CONVERSION, false, source).findAll { it instanceof BlockStatement }.each {
    it.visit(lines)
}
println JsonOutput.toJson([groovy: GroovySystem.version, calls: recorder.calls, crowded: lines.crowded])

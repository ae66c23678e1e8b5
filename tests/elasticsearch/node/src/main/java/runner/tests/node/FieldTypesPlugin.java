package runner.tests.node;

import java.util.Map;
import org.elasticsearch.index.mapper.KeywordFieldMapper;
import org.elasticsearch.index.mapper.Mapper;
import org.elasticsearch.index.mapper.TextFieldMapper;
import org.elasticsearch.plugins.MapperPlugin;
import org.elasticsearch.plugins.Plugin;

/**
 * Stand-ins for field types whose modules are not published: mappings of ECS name them.
 *
 * <p>{@code wildcard} and {@code constant_keyword} become {@code keyword}, {@code match_only_text} becomes {@code text}. Those
 * are the family types under which the field caps API of a full distribution reports them, too. Term, prefix, wildcard, regexp
 * and exists queries answer the same; what differs is listed in the README beside the node.
 */
public final class FieldTypesPlugin extends Plugin implements MapperPlugin {
    @Override
    public Map<String, Mapper.TypeParser> getMappers() {
        return Map.of(
            "wildcard", KeywordFieldMapper.PARSER,
            "constant_keyword", FieldTypesPlugin::constantKeyword,
            "match_only_text", TextFieldMapper.PARSER
        );
    }

    private static Mapper.Builder constantKeyword(
        String name,
        Map<String, Object> node,
        org.elasticsearch.index.mapper.MappingParserContext context
    ) {
        // The constant is in the documents as well, as the agents write it.
        node.remove("value");
        return KeywordFieldMapper.PARSER.parse(name, node, context);
    }
}

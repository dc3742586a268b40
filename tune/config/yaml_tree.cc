#include "tune/config/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <istream>
#include <map>
#include <streambuf>
#include <utility>

#include "tune/config/text_check.h"

namespace tune {
namespace {

constexpr size_t kMaxDepth = 32;
constexpr size_t kMaxNodes = 100000;

struct FaultException : std::exception {
  explicit FaultException(YamlFault what) : fault(std::move(what)) {}
  YamlFault fault;
};

YamlMark to_mark(const YAML::Mark& mark) {
  return mark.is_null() ? YamlMark{} : YamlMark{mark.line + 1, mark.column + 1};
}

size_t count_nodes(const YamlNode& node) {
  size_t count = 1;
  for (const YamlNode& item : node.items) count += count_nodes(item);
  return count;
}

// Puts the tree together from yaml-cpp's events. Its Node API would be shorter but forgets the
// second of two equal keys.
class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(std::string_view text) : text_(text) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++num_documents_ > 1) {
      fail(to_mark(mark), "a second YAML document starts here: a configuration is one document");
    }
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (expects_key()) fail(to_mark(mark), "a key is missing before ':'");
    YamlNode node;
    node.mark = to_mark(mark);
    keep(anchor, node);
    add(std::move(node));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) fail(to_mark(mark), "this alias (*) refers to what contains it");
    YamlNode node = found->second;
    node.mark = to_mark(mark);
    count(count_nodes(node), node.mark);
    add(std::move(node));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check_tag(tag, mark);
    check_closed(mark);
    YamlNode node;
    node.kind = YamlNode::Kind::scalar;
    node.text = value;
    node.is_quoted = tag != "?" && !tag.empty();
    node.mark = to_mark(mark);
    keep(anchor, node);
    add(std::move(node));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::sequence, mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::mapping, mark, tag, anchor);
  }
  void OnMapEnd() override { close(); }

  YamlNode take_root() { return std::move(root_); }

 private:
  struct Frame {
    YamlNode node;
    YAML::anchor_t anchor = 0;
    std::optional<YamlNode> key;  // of a mapping, waiting for its value
  };

  [[noreturn]] static void fail(YamlMark mark, std::string message) {
    throw FaultException({mark, std::move(message)});
  }

  static void check_tag(const std::string& tag, const YAML::Mark& mark) {
    if (tag.empty() || tag == "?" || tag == "!" || tag == "tag:yaml.org,2002:str") return;
    fail(to_mark(mark), "tags such as !!python or !env are not read: write the plain value");
  }

  // yaml-cpp takes the end of the text for the end of a quote; in a file that was cut off it is
  // not.
  void check_closed(const YAML::Mark& mark) const {
    const auto start = static_cast<size_t>(mark.pos);
    if (mark.pos < 0 || start >= text_.size()) return;
    const char quote = text_[start];
    if (quote != '"' && quote != '\'') return;
    for (size_t at = start + 1; at < text_.size(); ++at) {
      const bool is_escape = quote == '"' && text_[at] == '\\';
      const bool is_doubled = quote == '\'' && text_.substr(at, 2) == "''";
      if (is_escape || is_doubled) {
        ++at;
      } else if (text_[at] == quote) {
        return;
      }
    }
    fail(to_mark(mark), "this quote is never closed");
  }

  bool expects_key() const {
    return !stack_.empty() && stack_.back().node.kind == YamlNode::Kind::mapping &&
           !stack_.back().key;
  }

  void count(size_t nodes, YamlMark mark) {
    num_nodes_ += nodes;
    if (num_nodes_ > kMaxNodes) fail(mark, "more than 100000 values: aliases multiply too far");
  }

  void keep(YAML::anchor_t anchor, const YamlNode& node) {
    if (anchor == 0) return;
    count(count_nodes(node), node.mark);
    anchors_[anchor] = node;
  }

  void open(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag,
            YAML::anchor_t anchor) {
    check_tag(tag, mark);
    if (expects_key()) fail(to_mark(mark), "a key must be text, not a list or a mapping");
    if (stack_.size() >= kMaxDepth) fail(to_mark(mark), "nested deeper than 32 levels");
    Frame frame;
    frame.node.kind = kind;
    frame.node.mark = to_mark(mark);
    frame.anchor = anchor;
    stack_.push_back(std::move(frame));
  }

  void close() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    if (frame.node.kind == YamlNode::Kind::mapping) apply_merge_keys(frame.node);
    keep(frame.anchor, frame.node);
    add(std::move(frame.node));
  }

  void add(YamlNode node) {
    count(1, node.mark);
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    Frame& top = stack_.back();
    if (top.node.kind == YamlNode::Kind::mapping) {
      if (!top.key) {
        if (node.kind != YamlNode::Kind::scalar) fail(node.mark, "a key must be text");
        top.key = std::move(node);
        return;
      }
      node.key = std::move(top.key->text);
      node.key_mark = top.key->mark;
      top.key.reset();
    }
    top.node.items.push_back(std::move(node));
  }

  // "<<: *base" gives the keys of base that the mapping does not write itself.
  void apply_merge_keys(YamlNode& mapping) {
    std::vector<YamlNode> merges;
    std::vector<YamlNode> own;
    for (YamlNode& item : mapping.items) {
      (item.key == "<<" ? merges : own).push_back(std::move(item));
    }
    mapping.items = std::move(own);
    for (const YamlNode& merge : merges) merge_into(mapping, merge, merge.key_mark);
  }

  void merge_into(YamlNode& mapping, const YamlNode& from, YamlMark mark) {
    if (from.kind == YamlNode::Kind::sequence) {
      for (const YamlNode& item : from.items) {
        if (item.kind != YamlNode::Kind::mapping) fail(mark, "<< merges mappings only");
        merge_into(mapping, item, mark);
      }
      return;
    }
    if (from.kind != YamlNode::Kind::mapping) fail(mark, "<< merges a mapping, such as *name");
    for (const YamlNode& item : from.items) {
      if (mapping.find(item.key) != nullptr) continue;
      count(count_nodes(item), mark);
      mapping.items.push_back(item);
    }
  }

  std::string_view text_;
  YamlNode root_;
  std::vector<Frame> stack_;
  std::map<YAML::anchor_t, YamlNode> anchors_;
  int num_documents_ = 0;
  size_t num_nodes_ = 0;
};

// A stream over the caller's bytes, without copying them.
class ViewBuffer final : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) {
    char* begin = const_cast<char*>(text.data());  // only read: the get area of a streambuf
    setg(begin, begin, begin + text.size());
  }
};

YamlNode parse_document(std::string_view text) {
  ViewBuffer buffer(text);
  std::istream stream(&buffer);
  YAML::Parser parser(stream);
  TreeBuilder builder(text);
  while (parser.HandleNextDocument(builder)) {
  }
  return builder.take_root();
}

}  // namespace

const YamlNode* YamlNode::find(std::string_view name) const {
  if (kind != Kind::mapping) return nullptr;
  for (const YamlNode& item : items) {
    if (item.key == name) return &item;
  }
  return nullptr;
}

YamlNode* YamlNode::find(std::string_view name) {
  return const_cast<YamlNode*>(std::as_const(*this).find(name));
}

std::string_view yaml_kind_name(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::null:
      return "nothing";
    case YamlNode::Kind::scalar:
      return "a single value";
    case YamlNode::Kind::sequence:
      return "a list";
    case YamlNode::Kind::mapping:
      return "a mapping";
  }
  return "nothing";
}

YamlDocument parse_yaml(std::string_view text) {
  YamlDocument document;
  text = skip_byte_order_mark(text);
  if (text.size() > kMaxConfigBytes) {
    document.fault = YamlFault{{}, "larger than 1 MiB: this is not a configuration file"};
    return document;
  }
  if ((document.fault = find_text_fault(text))) return document;
  try {
    document.root = parse_document(text);
  } catch (const FaultException& failure) {
    document.fault = failure.fault;
  } catch (const YAML::Exception& failure) {
    document.fault = YamlFault{to_mark(failure.mark), "this is not valid YAML: " + failure.msg};
  } catch (const std::exception& failure) {
    document.fault = YamlFault{{}, std::string("this is not valid YAML: ") + failure.what()};
  }
  return document;
}

}  // namespace tune
